"""What a schedule that is due does now: the times to fire, those to leave out, and the next one."""

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from roost.schedules.spec import At
from roost.schedules.times import next_time, times
from roost.schedules.zones import local
from roost_platform.db import models
from roost_platform.db.schedules.keeping import spec_of
from roost_platform.db.schedules.options import active_hours

# Why a time was left out.
SkipReason = Literal["missed", "overlap", "inactive_hours", "blocked", "tokens_used_up"]

CATCH_UP_MAX: Final = 10  # times that are made up for, and times left out that are kept
GRACE_S: Final = 120.0  # a time counts as missed when it is over for longer
COUNTED_MAX: Final = 5000  # missed times that are counted one by one
NEWEST_S: Final = 86_400.0  # where to look for the newest of more missed times than that


@dataclass(frozen=True, slots=True)
class Plan:
    """fire: the times to fire now, oldest first. skipped: times that are left out, the newest of
    them. missed: how many times passed before the first one that fires. next_due: None when the
    schedule is over. is_inactive: whether its active hours are over or yet to come.
    """

    fire: tuple[float, ...]
    skipped: tuple[float, ...]
    missed: int
    next_due: float | None
    is_inactive: bool


def plan(schedule: models.Schedule, now: float) -> Plan:
    """What the schedule does at `now`. Raises ScheduleError if it can't be read any more."""
    spec, zone = spec_of(schedule)
    first = schedule.due_at or now
    next_due = None if isinstance(spec, At) else next_time(spec, zone, now)
    newest, count = _due(schedule, first, now)
    match schedule.missed:
        case "all":
            fire: Sequence[float] = newest
        case "skip":
            fire = [one for one in newest[-1:] if now - one <= GRACE_S]
        case _:
            fire = newest[-1:]
    skipped = newest[: len(newest) - len(fire)]
    inactive = is_inactive(schedule, now)
    return Plan(tuple(fire), tuple(skipped), count - len(fire), next_due, inactive)


def _due(schedule: models.Schedule, first: float, now: float) -> tuple[list[float], int]:
    """The newest times from `first` until now, and how many there are."""
    spec, zone = spec_of(schedule)
    if isinstance(spec, At):
        return [first], 1
    count = 1
    newest: deque[float] = deque([first], maxlen=CATCH_UP_MAX)
    for one in itertools.islice(times(spec, zone, first), COUNTED_MAX):
        if one > now:
            return list(newest), count
        newest.append(one)
        count += 1
    recent = itertools.takewhile(lambda one: one <= now, times(spec, zone, now - NEWEST_S))
    newest.extend(recent)
    return list(newest), count


def is_inactive(schedule: models.Schedule, now: float) -> bool:
    """Whether its active hours, where it has some, are over or yet to come."""
    hours = active_hours(schedule.options)
    if hours is None:
        return False
    _, zone = spec_of(schedule)
    begin, end = hours
    here = local(now, zone).time()
    return not (begin <= here < end if begin <= end else here >= begin or here < end)
