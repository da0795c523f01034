"""Starts coding agents and other clients on this gateway, each with a profile of its own."""
