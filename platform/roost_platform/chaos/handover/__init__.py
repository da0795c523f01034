"""Engines that hand KV over to each other die at every step: simulated, and as real processes."""
