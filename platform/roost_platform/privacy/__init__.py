"""What belongs to a person: found in every store, exported, deleted."""
