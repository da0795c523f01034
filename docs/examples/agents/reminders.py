"""Reminds people of what they ask for, in their own time zone."""

from roost import Agent
from roost.builtin import delete_schedule, list_schedules, remind

reminders = Agent(
    "reminders",
    instructions=(
        "You remind people. Keep one reminder for each thing they name; ask for the time if they "
        "give none, and for their city if their time zone is not known. Say when it is due."
    ),
    tools=[remind, list_schedules, delete_schedule],
    max_steps=6,
)
