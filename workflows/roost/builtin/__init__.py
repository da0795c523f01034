"""Agents and tools that Roost brings: `from roost.builtin import delegate`."""

from roost.builtin.delegating import delegate

__all__ = ["delegate"]
