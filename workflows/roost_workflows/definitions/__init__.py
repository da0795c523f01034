"""Agents as they are declared: what of a declaration is kept, and when it counts as changed."""
