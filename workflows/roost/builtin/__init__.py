"""Agents and tools that Roost brings: `from roost.builtin import delegate, remind, schedule`."""

from roost.builtin.delegating import delegate
from roost.builtin.schedules import delete_schedule, list_schedules, remind, schedule

__all__ = ["delegate", "delete_schedule", "list_schedules", "remind", "schedule"]
