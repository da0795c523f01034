"""Turns that schedules began: their ends, and what jobs say in their chats."""
