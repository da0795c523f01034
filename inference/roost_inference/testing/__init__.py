"""Doubles for tests: a backend without weights and engines that follow a script."""
