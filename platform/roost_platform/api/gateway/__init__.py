"""The API routes of the gateway."""
