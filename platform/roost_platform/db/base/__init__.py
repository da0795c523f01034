"""The database itself: connections, news of commits and migrations."""
