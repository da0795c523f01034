"""Running tools: one call to a typed outcome, in a task, a thread or a process of its own."""
