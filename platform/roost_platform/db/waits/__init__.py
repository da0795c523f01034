"""Calls that wait for people, children or a time, and what ends each wait."""
