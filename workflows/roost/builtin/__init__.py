"""Agents and tools that Roost brings."""

from roost.builtin.asking import ask_user
from roost.builtin.delegating import delegate

__all__ = ["ask_user", "delegate"]
