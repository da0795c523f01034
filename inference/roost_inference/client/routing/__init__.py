"""Which engine answers a request, and whether another one reads its prompt first."""
