"""OpenAI's older completions, answered by chat models."""
