"""Telegram through the Bot API: inbound, format, channel."""
