"""Tiers below the device: where blocks of KV lie, and the threads that move them."""
