"""Conversations: their rows, sessions, settings and moves to another chat id."""
