"""Pages for finding faults: prompts, search, settings, checks, logs, alerts."""
