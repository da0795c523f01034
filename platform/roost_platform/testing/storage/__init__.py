"""Databases for tests: migrated ones to use again, and snapshots of their rows."""
