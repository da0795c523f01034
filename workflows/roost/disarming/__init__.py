"""Keeps people, tools and files from writing what only Roost or a model's template may write."""
