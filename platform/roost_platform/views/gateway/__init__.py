"""The gateway as the console and the API show it."""
