"""Rendering: Markdown becomes one document tree, and the tree becomes parts that fit a channel."""
