"""Agents and tools that Roost brings:
`from roost.builtin import ask_user, delegate, remind, schedule`.
"""

from roost.builtin.asking import ask_user
from roost.builtin.delegating import delegate
from roost.builtin.schedules import delete_schedule, list_schedules, remind, schedule

__all__ = ["ask_user", "delegate", "delete_schedule", "list_schedules", "remind", "schedule"]
