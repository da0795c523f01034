"""What a schedule says about its times, and what is wrong with one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from roost.errors import RoostError
from roost.schedules.zones import local

MINUTE_S: Final = 60
DAY_S: Final = 86_400
CHECK_S_MIN: Final = 300  # between two checks, each of which costs a model call
EVERY_S_MAX: Final = 366 * DAY_S
AHEAD_S_MAX: Final = 10 * 366 * DAY_S  # nobody plans further; a longer way is a mistyped year
YEARS: Final = (1971, 9998)  # beyond them clocks and zones can't count
CRON_CHARS_MAX: Final = 100
CRON_FIELDS: Final = 5


class ScheduleError(RoostError):
    """The times of a schedule are wrong; the message says how to mend them."""


@dataclass(frozen=True, slots=True)
class At:
    """Once, at a local time; with an offset of its own, at that instant."""

    at: datetime

    def as_dict(self) -> dict[str, Any]:
        """The spec as JSON."""
        return {"at": self.at.isoformat()}


@dataclass(frozen=True, slots=True)
class Every:
    """Again and again from `start` on, until `end` if there is one.

    every_s: whole seconds. Whole days keep the local time when the clock changes, other intervals
    are counted on a clock that never does.
    """

    every_s: int
    start: datetime
    end: datetime | None = None

    def as_dict(self) -> dict[str, Any]:
        """The spec as JSON."""
        end = None if self.end is None else self.end.isoformat()
        return {"every_s": self.every_s, "start": self.start.isoformat(), "end": end}


@dataclass(frozen=True, slots=True)
class Cron:
    """At the times of a cron expression of five fields, in local time.

    As in Vixie's cron: where both a day of the month and a weekday are given, either will do.
    """

    cron: str

    def as_dict(self) -> dict[str, Any]:
        """The spec as JSON."""
        return {"cron": self.cron}


Spec = At | Every | Cron


def read_spec(value: Mapping[str, Any], zone: ZoneInfo, now: float) -> Spec:
    """The spec of a JSON object: {at}, {every_s, start, end} or {cron}. Raises ScheduleError.

    An interval without a start begins now.
    """
    keys = {key for key, given in value.items() if given is not None}
    if keys == {"at"}:
        return At(_time(value["at"]))
    if keys == {"cron"}:
        return Cron(_cron(value["cron"]))
    if "every_s" in keys and keys <= {"every_s", "start", "end"}:
        start = _time(value["start"]) if "start" in keys else local(math.floor(now), zone)
        end = _time(value["end"]) if "end" in keys else None
        return Every(_interval(value["every_s"]), start, end)
    raise ScheduleError(
        "Say when in one of three ways: at (a time), every (an interval), or cron (an expression)."
    )


def _time(value: object) -> datetime:
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        raise ScheduleError(
            f"{str(value)[:60]!r} is no time: write it as 2026-11-30T09:00, a date that exists."
        ) from None
    if not YEARS[0] <= found.year <= YEARS[1]:
        raise ScheduleError(f"The year {found.year} is out of reach. Check the year.")
    return found


def _interval(value: object) -> int:
    seconds = value if isinstance(value, int | float) and not isinstance(value, bool) else 0
    if not MINUTE_S <= seconds <= EVERY_S_MAX or seconds != int(seconds):
        raise ScheduleError("An interval is a whole number of seconds, from a minute to a year.")
    return int(seconds)


def _cron(value: object) -> str:
    text = " ".join(str(value)[: CRON_CHARS_MAX + 1].split())
    if len(text) > CRON_CHARS_MAX or len(text.split()) != CRON_FIELDS:
        raise ScheduleError(
            "A cron expression has five fields: minute, hour, day of the month, month, weekday, "
            'such as "30 8 * * 1-5" for 08:30 from Monday to Friday.'
        )
    try:
        CronSim(text, datetime(2026, 1, 1))
    except (CronSimError, ValueError) as error:
        raise ScheduleError(
            f"The cron expression {text!r} names no time that exists ({error}). Fields are minute, "
            "hour, day of the month, month, weekday."
        ) from None
    return text
