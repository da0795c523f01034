"""Flows as operators see them."""
