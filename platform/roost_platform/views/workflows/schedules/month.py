"""Days of schedules as a calendar."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost.schedules.spec import ScheduleError
from roost.schedules.times import times
from roost.schedules.zones import instant, local
from roost_platform.db import models
from roost_platform.db.schedules.keeping import code_of, spec_of

CALENDAR_SCHEDULES_MAX: Final = 500
CALENDAR_TIMES_MAX: Final = 200  # of one schedule; one that comes oftener is cut


@dataclass(frozen=True, slots=True)
class CalendarEntry:
    """A schedule on a day of the calendar, with the times of the day in its own zone: `09:00`."""

    id: str
    code: str
    kind: str
    text: str
    owner: str
    zone: str
    times: Sequence[str]


async def calendar(
    session: AsyncSession, first: date, last: date, now: float
) -> Mapping[date, Sequence[CalendarEntry]]:
    """The times of all active schedules from `first` to `last` and from `now` on, by local days."""
    days: dict[date, list[CalendarEntry]] = {}
    rows = await session.execute(
        select(models.Schedule, models.Identity.display_name)
        .outerjoin(models.Identity, models.Identity.id == models.Schedule.owner_id)
        .where(models.Schedule.state == "active")
        .order_by(models.Schedule.due_at, models.Schedule.id)
        .limit(CALENDAR_SCHEDULES_MAX)
    )
    for row, owner in rows:
        for day, at in _days_of(row, first, last, now).items():
            entry = CalendarEntry(
                row.id, code_of(row), row.kind, row.text, owner or "", row.zone, at
            )
            days.setdefault(day, []).append(entry)
    return days


def _days_of(
    row: models.Schedule, first: date, last: date, now: float
) -> Mapping[date, Sequence[str]]:
    try:
        spec, zone = spec_of(row)
    except ScheduleError:
        return {}
    begin = instant(datetime.combine(first, time()), zone)
    end = instant(datetime.combine(last + timedelta(days=1), time()), zone)
    days: dict[date, list[str]] = {}
    after = max(begin, min(now, row.due_at or now)) - 1
    for at in itertools.islice(times(spec, zone, after), CALENDAR_TIMES_MAX):
        if at >= end:
            break
        here = local(at, zone)
        days.setdefault(here.date(), []).append(f"{here:%H:%M}")
    return days
