"""What keeps one client from costing others theirs: bounds of bodies, and places of calls."""
