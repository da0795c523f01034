"""The next times of a spec; cron expressions are counted by cronsim."""

import itertools
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim

from roost.schedules.spec import (
    AHEAD_S_MAX,
    CHECK_S_MIN,
    DAY_S,
    MINUTE_S,
    At,
    Cron,
    Every,
    ScheduleError,
    Spec,
)
from roost.schedules.zones import instant, local

GAPS_LOOKED_AT: Final = 200  # times among which the shortest gap of a cron expression shows
SHOWN: Final = 3


def next_times(spec: Spec, zone: ZoneInfo, after: float, count: int = 1) -> Sequence[float]:
    """The next times later than `after`, in seconds since the epoch; fewer where it ends."""
    return list(itertools.islice(times(spec, zone, after), count))


def next_time(spec: Spec, zone: ZoneInfo, after: float) -> float | None:
    """The next time later than `after`, None when there is none."""
    return next(times(spec, zone, after), None)


def times(spec: Spec, zone: ZoneInfo, after: float) -> Iterator[float]:
    """All times later than `after`, in order, each once."""
    last = after
    for one in _candidates(spec, zone, after):
        if one > last:
            last = one
            yield one


def _candidates(spec: Spec, zone: ZoneInfo, after: float) -> Iterator[float]:
    if isinstance(spec, Cron):
        for found in CronSim(spec.cron, local(after, zone)):
            yield found.timestamp()
    elif isinstance(spec, Every):
        end = None if spec.end is None else instant(spec.end, zone)
        whole_days = spec.every_s % DAY_S == 0
        steps = _days(spec, zone, after) if whole_days else _seconds(spec, zone, after)
        yield from itertools.takewhile(lambda one: end is None or one <= end, steps)
    else:
        yield instant(spec.at, zone)


def _seconds(spec: Every, zone: ZoneInfo, after: float) -> Iterator[float]:
    start = instant(spec.start, zone)
    first = max(int((after - start) // spec.every_s), 0)
    return (start + step * spec.every_s for step in itertools.count(first))


def _days(spec: Every, zone: ZoneInfo, after: float) -> Iterator[float]:
    days = spec.every_s // DAY_S
    start = local(instant(spec.start, zone), zone).replace(tzinfo=None)
    if spec.start.tzinfo is None:
        start = spec.start
    passed = (local(after, zone).replace(tzinfo=None) - start).days
    for step in itertools.count(max(passed // days - 1, 0)):
        yield instant(start + timedelta(days=step * days), zone)


def check(spec: Spec, zone: ZoneInfo, now: float, *, is_check: bool = False) -> Sequence[float]:
    """The next times of a spec that may be kept, at least one. Raises ScheduleError with the mend.

    is_check: for a check, which costs a model call each time.
    """
    if isinstance(spec, At) and instant(spec.at, zone) <= now:
        past = when(instant(spec.at, zone), zone)
        raise ScheduleError(f"{past} is past. Name a later time.")
    found = next_times(spec, zone, now, GAPS_LOOKED_AT if isinstance(spec, Cron) else SHOWN)
    if not found:
        raise ScheduleError(
            "That has no time to come: it ends before it begins, or names a day that no year has."
        )
    if found[0] - now > AHEAD_S_MAX:
        raise ScheduleError(f"{when(found[0], zone)} is over ten years away. Check the year.")
    least = CHECK_S_MIN if is_check else MINUTE_S
    gaps = [later - earlier for earlier, later in itertools.pairwise(found)]
    if gaps and min(gaps) < least:
        what = "A check runs" if is_check else "A schedule is due"
        raise ScheduleError(
            f"{what} at most every {least // MINUTE_S} minutes: choose a longer interval."
            if least > MINUTE_S
            else f"{what} at most once a minute: choose a longer interval."
        )
    return found[:SHOWN]


def when(at: float, zone: ZoneInfo) -> str:
    """A time for people: `Mon 30 Nov 2026 09:00`."""
    return wall(local(at, zone))


def wall(at: datetime) -> str:
    """A local time for people; seconds only where there are some."""
    seconds = f":{at.second:02d}" if at.second else ""
    return f"{_DAYS[at.weekday()]} {at.day} {_MONTHS[at.month - 1]} {at.year} {at:%H:%M}{seconds}"


def echo(found: Sequence[float], zone: ZoneInfo) -> str:
    """The next times in a sentence: `Mon 30 Nov 2026 09:00 (Europe/Rome), then …`."""
    first, *more = [when(one, zone) for one in found]
    head = f"{first} ({zone.key})"
    if not more:
        return head
    return f"{head}, then {' and '.join(more)}"


# Not by the locale of the process.
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
