"""Schedules of people and what became of their times."""
