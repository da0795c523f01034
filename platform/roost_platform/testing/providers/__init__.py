"""Providers that follow a script, as servers on loopback."""
