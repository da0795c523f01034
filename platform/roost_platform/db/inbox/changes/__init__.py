"""Edits and deletions of what people wrote before."""
