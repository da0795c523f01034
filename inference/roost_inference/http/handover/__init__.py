"""KV that goes from one engine to another, as HTTP: leases, blocks, and what a router asks."""
