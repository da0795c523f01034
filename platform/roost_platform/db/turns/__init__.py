"""Turns: their steps, transcript, progress, stop and end."""
