"""A clock that was ahead and is put back: schedules become due in the present again."""

from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost.schedules.spec import ScheduleError
from roost.schedules.times import times
from roost_platform.db import models
from roost_platform.db.schedules.keeping import spec_of

# A clock that was ahead by less changed nothing: times of a schedule are a minute apart at least.
# Clocks of several machines differ by less.
AHEAD_S: Final = 30.0


async def plan_again(session: AsyncSession, schedule: models.Schedule, now: float) -> None:
    """Set the next time after `now` that has not fired, for a schedule whose due time was found by
    a clock that was ahead. The schedule and its chat are locked.

    What that clock skipped has not come yet. One that seemed to be over goes on.
    """
    planned_at, schedule.planned_at = schedule.planned_at, now
    if schedule.state not in ("active", "done") or planned_at <= now:
        return
    try:
        spec, zone = spec_of(schedule)
    except ScheduleError:
        return  # it is paused when it is due
    later = (
        models.Occurrence.schedule_id == schedule.id,
        models.Occurrence.scheduled_for > now,
    )
    await session.execute(
        delete(models.Occurrence)
        .where(*later, models.Occurrence.state == "skipped")
        .execution_options(synchronize_session=False)
    )
    fired = set(await session.scalars(select(models.Occurrence.scheduled_for).where(*later)))
    due_at = next((one for one in times(spec, zone, now) if one not in fired), None)
    if due_at is not None:
        schedule.state, schedule.due_at = "active", due_at
