"""Read models of the engine: its figures, sessions and history."""
