"""Hints: what the worker tells the engine about its sessions."""
