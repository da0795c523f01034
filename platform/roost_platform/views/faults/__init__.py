"""Views for finding faults: prompts as they were sent, search, alerts."""
