"""The engine's KV: cells on the device, sequences that stay there, and blocks in lower tiers."""
