"""Vectors of texts, by a model of their own beside the one that answers."""
