"""The name of a schedule in messages about it."""

from typing import Final

from roost_platform.db import models

TITLE_CHARS_MAX: Final = 60


def title_of(schedule: models.Schedule) -> str:
    """The beginning of the text on one line."""
    words = " ".join(schedule.text.split())
    return words if len(words) <= TITLE_CHARS_MAX else f"{words[:TITLE_CHARS_MAX]}…"
