"""Agents and tools that Roost brings: `from roost.builtin import remind, schedule`."""

from roost.builtin.schedules import delete_schedule, list_schedules, remind, schedule

__all__ = ["delete_schedule", "list_schedules", "remind", "schedule"]
