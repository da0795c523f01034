"""What can be done to a schedule that is kept: pause, resume, delete, change, run, put off."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost.schedules.spec import At, ScheduleError, Spec
from roost.schedules.times import check, next_time
from roost.schedules.zones import local
from roost_platform.db import models
from roost_platform.db.schedules.keeping import LIVE, NewSchedule, keep, spec_of
from roost_platform.db.waits.grants import revoke_all_of

SNOOZE_S: Final = 600.0
GONE: Final = "That schedule is over or deleted."
PAST: Final = "Its time is past: delete it, or make a new one."


def pause(schedule: models.Schedule) -> None:
    """Let it rest; what is due meanwhile is not made up for. Raises ScheduleError."""
    _check_live(schedule)
    schedule.state = "paused"


def resume(schedule: models.Schedule, now: float) -> None:
    """Go on with the next time to come. Raises ScheduleError where there is none."""
    _check_live(schedule)
    if schedule.state == "active":
        return
    spec, zone = spec_of(schedule)
    due_at = next_time(spec, zone, now)
    if due_at is None:
        raise ScheduleError(PAST)
    schedule.state, schedule.due_at, schedule.planned_at = "active", due_at, now
    schedule.fails, schedule.fail_code = 0, ""


async def delete(session: AsyncSession, schedule: models.Schedule, now: float) -> None:
    """End it for good, with its standing approvals; its history stays."""
    await revoke_all_of(session, [schedule.id], now)
    schedule.state, schedule.due_at, schedule.planned_at = "deleted", None, 0.0


def change(schedule: models.Schedule, spec: Spec, zone_name: str, text: str, now: float) -> None:
    """Give it other times and another text. Raises ScheduleError."""
    _check_live(schedule)
    schedule.zone = zone_name
    schedule.spec = spec.as_dict()
    parsed, zone = spec_of(schedule)
    due_at = check(parsed, zone, now, is_check=schedule.kind == "check")[0]
    schedule.text, schedule.state = text, "active"
    schedule.due_at, schedule.planned_at = due_at, now
    schedule.fails, schedule.fail_code = 0, ""


async def snooze(
    session: AsyncSession,
    schedule: models.Schedule,
    conversation: models.Conversation,
    now: float,
    *,
    tomorrow: bool = False,
) -> models.Schedule:
    """Remind once more in ten minutes, or tomorrow at the same time; once for each time that was
    due. Raises ScheduleError.
    """
    occurrence = await latest(session, schedule.id, now)
    if occurrence is None:
        raise ScheduleError(GONE)
    _, zone = spec_of(schedule)
    if tomorrow:
        due = local(occurrence.scheduled_for, zone).replace(tzinfo=None, microsecond=0)
        day = local(now, zone).date() + timedelta(days=1)
        spec = At(datetime.combine(day, due.time()))
    else:
        spec = At(local(int(now + SNOOZE_S), zone))
    new = NewSchedule(
        kind="reminder",
        text=schedule.text,
        spec=spec,
        zone=schedule.zone,
        key=f"{'tomorrow' if tomorrow else 'snooze'}:{occurrence.id}",
        created_by=schedule.owner_id,
    )
    return await keep(session, conversation, schedule.owner_id, new, now)


async def mark_done(session: AsyncSession, schedule: models.Schedule, now: float) -> None:
    """Note that the person did it; one that comes until then ends."""
    occurrence = await latest(session, schedule.id, now)
    if occurrence is not None:
        occurrence.state = "done"
    if schedule.options.get("until_done") and schedule.state in LIVE:
        schedule.state, schedule.due_at, schedule.planned_at = "done", None, 0.0


async def latest(session: AsyncSession, schedule_id: str, now: float) -> models.Occurrence | None:
    """The newest time of a schedule that fired; none that a clock fired which was ahead."""
    return await session.scalar(
        select(models.Occurrence)
        .where(
            models.Occurrence.schedule_id == schedule_id,
            models.Occurrence.scheduled_for <= now,
            models.Occurrence.state.in_(("fired", "done", "failed")),
        )
        .order_by(models.Occurrence.scheduled_for.desc())
        .limit(1)
    )


def _check_live(schedule: models.Schedule) -> None:
    if schedule.state not in LIVE:
        raise ScheduleError(GONE)
