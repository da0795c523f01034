"""Speculation: several tokens a step, guessed cheaply and verified by the model in one decode."""
