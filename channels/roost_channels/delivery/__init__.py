"""Delivery: one lane per chat sends every message in parts and settles every outcome."""
