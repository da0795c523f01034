"""From messages and tools to prompt tokens, and from generated text back to tool calls."""
