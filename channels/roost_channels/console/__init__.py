"""The console as a channel."""
