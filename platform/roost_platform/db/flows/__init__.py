"""Flows: their journals, which are calls of turns with an `op`, and how they begin and end."""
