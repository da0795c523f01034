"""Conversations: the private chat of each person, and chats that got a new id."""
