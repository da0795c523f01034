"""Agents and tools that Roost brings."""
