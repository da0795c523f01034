"""Families of chat models: which one a template belongs to, and how each writes its tool calls."""
