"""Cards: the messages by which people are asked, with their buttons, and what becomes of them."""
