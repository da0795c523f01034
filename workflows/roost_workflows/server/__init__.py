"""The Temporal server: running the bundled one, connecting to any."""
