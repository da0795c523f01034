"""Rows that become due at a time of day: sources of the due-clock."""
