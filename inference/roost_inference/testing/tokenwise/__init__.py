"""For tests: drafters that guess token by token."""
