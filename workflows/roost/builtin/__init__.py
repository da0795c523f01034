"""Agents and tools that Roost brings."""

from roost.builtin.asking import ask_user

__all__ = ["ask_user"]
