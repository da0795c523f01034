"""OpenAI chat completions: the form that the gateway itself speaks inside."""
