"""Answers that are written at once, each in KV of its own."""
