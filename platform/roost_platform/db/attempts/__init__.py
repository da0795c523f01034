"""New attempts: failed turns that are tried again, and runs of flows that begin from a journal."""
