"""Anthropic's wire: requests in its form, and its events."""
