"""Relay, a chat network that speaks JSON, as a channel: the example of docs/extending.md."""
