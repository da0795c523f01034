"""Providers for tests: scripted ones on loopback, and a loop whose clock jumps."""
