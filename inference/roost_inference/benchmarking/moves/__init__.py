"""Scenarios about KV that moves: between engines, tiers, and contexts."""
