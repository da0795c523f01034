"""Texts without a chat: completions, and the tokens of a text."""
