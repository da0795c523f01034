"""What must hold of everything that waits: what is looked at, and the rules."""
