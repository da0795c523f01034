"""Agents' own model calls: the same router as at the door, in the worker's process."""
