"""Fakes of what lies across the internet, as real HTTP servers on loopback."""
