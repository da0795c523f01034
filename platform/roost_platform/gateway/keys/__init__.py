"""Keys of the gateway: how they are made, what a call may cost, and what it has cost."""
