"""Running tools: one call to its typed outcome, synchronous functions in threads."""
