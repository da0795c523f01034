"""The options of a schedule, which tools give as JSON: read once, when it is kept."""

from collections.abc import Mapping
from datetime import time
from typing import Any, Final

from roost.schedules.spec import ScheduleError

ACTIVE: Final = "active"  # two local times, [from, until)
TOKENS_A_DAY: Final = "tokens_a_day"  # of a check
UNTIL_DONE: Final = "until_done"  # a reminder comes again until the person says so


def check_options(options: Mapping[str, Any]) -> None:
    """Raise ScheduleError for options that can't be followed."""
    if more := set(options) - {ACTIVE, TOKENS_A_DAY, UNTIL_DONE}:
        raise ScheduleError(f"A schedule has no option {sorted(more)[0]!r}.")
    if options.get(ACTIVE) is not None:
        active_hours(options)
    tokens = options.get(TOKENS_A_DAY)
    if tokens is not None and (isinstance(tokens, bool) or not isinstance(tokens, int)):
        raise ScheduleError("tokens_a_day is a whole number of tokens.")
    if tokens is not None and tokens <= 0:
        raise ScheduleError("tokens_a_day is more than 0: without tokens no check runs.")
    if not isinstance(options.get(UNTIL_DONE, False), bool):
        raise ScheduleError("until_done is true or false.")


def active_hours(options: Mapping[str, Any]) -> tuple[time, time] | None:
    """From when until when it is active; None for always. Raises ScheduleError."""
    hours = options.get(ACTIVE)
    if not hours:
        return None
    try:
        begin, end = (time.fromisoformat(one) for one in hours)
    except (TypeError, ValueError):
        raise ScheduleError(
            'Active hours are two local times, such as ["08:00", "22:00"].'
        ) from None
    if begin.tzinfo is not None or end.tzinfo is not None:
        raise ScheduleError("Active hours are local times, without an offset.")
    return begin, end
