"""What people read of schedules, and the buttons beside it."""

from collections.abc import Sequence
from typing import Final

from roost.schedules.spec import ScheduleError
from roost.schedules.times import when
from roost.schedules.zones import local
from roost_channels.console.config import CHANNEL as CONSOLE
from roost_channels.message import SCHEDULE_BUTTON, Button, choices_in_words
from roost_platform.db import models
from roost_platform.db.schedules.keeping import code_of, echo_of, is_single, spec_of
from roost_platform.db.turns.scheduled.titles import title_of

OK: Final = "k"
CHANGE: Final = "c"
CANCEL: Final = "x"
DONE: Final = "d"
SNOOZE: Final = "s"
TOMORROW: Final = "t"
DELETE: Final = "e"
PAUSE: Final = "p"
RESUME: Final = "r"
LATE_S: Final = 60.0  # a text that goes out later than this says when it was due
_KINDS: Final = {"reminder": "Reminder", "task": "Task", "job": "Job", "check": "Check"}


def buttons(schedule: models.Schedule, *choices: tuple[str, str]) -> list[Button]:
    """The buttons of a schedule, each with its label and choice; their numbers stand for them."""
    return [
        Button(label, f"{SCHEDULE_BUTTON}{schedule.id}:{choice}", str(number))
        for number, (label, choice) in enumerate(choices, 1)
    ]


def with_words(text: str, shown: Sequence[Button], channel: str) -> str:
    """The text, with the words for its buttons in the console, which shows none.

    Elsewhere the adapter knows when buttons are not shown.
    """
    words = choices_in_words(shown) if channel == CONSOLE else ""
    return f"{text}\n\n{words}" if words else text


def created_text(schedule: models.Schedule, now: float) -> str:
    """What is said of a schedule that was made or changed: all that was understood."""
    until = ", until you say done" if schedule.options.get("until_done") else ""
    return f"{_KINDS[schedule.kind]}: {schedule.text}\n{echo_of(schedule, now)}{until}"


def created_buttons(schedule: models.Schedule) -> list[Button]:
    """OK, Change and Cancel."""
    return buttons(schedule, ("OK", OK), ("Change", CHANGE), ("Cancel", CANCEL))


def reminder_text(schedule: models.Schedule, scheduled_for: float, now: float, missed: int) -> str:
    """The text of a reminder; a late one says when it was due and how many went before it."""
    text = f"⏰ {schedule.text}"
    if now - scheduled_for < LATE_S:
        return text
    return f"{text}\n\n_{late_words(schedule, scheduled_for, now, missed)}_"


def late_words(schedule: models.Schedule, scheduled_for: float, now: float, missed: int) -> str:
    """`due 09:00, sent 11:20`, with the days where they differ."""
    _, zone = spec_of(schedule)
    due, sent = local(scheduled_for, zone), local(now, zone)
    words = f"due {due:%H:%M}, sent {sent:%H:%M}"
    if due.date() != sent.date():
        words = f"due {when(scheduled_for, zone)}, sent {when(now, zone)}"
    if missed:
        words += f"; {missed} earlier {'time was' if missed == 1 else 'times were'} missed"
    return words


def reminder_buttons(schedule: models.Schedule) -> list[Button]:
    """Done, Snooze, Tomorrow, and Delete for one that comes again."""
    choices = [("Done", DONE), ("Snooze 10 min", SNOOZE), ("Tomorrow", TOMORROW)]
    if not is_single(schedule):
        choices.append(("Delete", DELETE))
    return buttons(schedule, *choices)


def line_of(schedule: models.Schedule) -> str:
    """One schedule in a list: its code, what it does and when it is next due."""
    try:
        _, zone = spec_of(schedule)
    except ScheduleError:
        return f"`{code_of(schedule)}` {title_of(schedule)}: its times can't be read any more"
    next_due = "paused"
    if schedule.state == "active" and schedule.due_at is not None:
        next_due = f"{when(schedule.due_at, zone)} ({zone.key})"
        next_due += "" if is_single(schedule) else ", repeats"
    return f"`{code_of(schedule)}` {title_of(schedule)}: {next_due}"
