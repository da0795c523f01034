"""One session as its page shows it: the conversation, its transcript, and where its time went."""
