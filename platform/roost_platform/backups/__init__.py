"""Backups: one file with the database, the people's files and the keys, and the way back."""
