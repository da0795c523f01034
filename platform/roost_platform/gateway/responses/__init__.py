"""The addresses of responses: stored ones, and those that run on in the background."""
