"""The client of any OpenAI-compatible engine."""
