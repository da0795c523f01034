"""The HTTP API for programs, and the webhooks that channels call."""
