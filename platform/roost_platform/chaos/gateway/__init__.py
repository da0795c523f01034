"""Seeded runs against the gateway's promises."""
