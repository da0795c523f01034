"""The running stack: its parts, their supervisor, logs and health."""
