"""Schedules for operators: the list, and one of them with its next times and its history."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost.schedules.spec import At, Cron, ScheduleError
from roost.schedules.times import next_times, wall
from roost.schedules.zones import local
from roost_platform.db import models
from roost_platform.db.schedules.keeping import code_of, spec_of
from roost_platform.errors import NotFound
from roost_platform.views.pagination import PAGE_SIZE, like

STATES: Final = ("active", "paused", "done", "deleted")
NEXT_SHOWN: Final = 5
HISTORY_MAX: Final = 50


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A schedule in a list. key: of its conversation. owner: the person's name, empty for nobody.

    times: what it says about its times, in words. due_at: None when there is no next time.
    """

    id: str
    code: str
    key: str
    owner: str
    owner_id: str
    agent: str
    kind: str
    text: str
    times: str
    zone: str
    due_at: float | None
    state: str
    fails: int
    fail_code: str
    created_by: str
    created_at: float


@dataclass(frozen=True, slots=True)
class OccurrenceRow:
    """One time of a schedule and what became of it.

    state: fired, skipped, done or failed. delivery: the state of its message, empty without one.
    told: who heard of a message that did not arrive: elsewhere (its owner), nobody.
    key: of the conversation in which its turn ran, empty without one.
    """

    id: str
    scheduled_for: float
    fired_at: float
    late_s: float
    state: str
    reason: str
    turn_id: str
    turn_state: str
    delivery: str
    told: str
    outbox_id: str
    key: str
    result: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class ScheduleDetail:
    """One schedule with its next times and its history, the newest first.

    next_words: the next times as people of its zone read them.
    """

    row: ScheduleRow
    spec: Mapping[str, Any]
    missed: str
    overlap: str
    options: Mapping[str, Any]
    next_times: Sequence[float]
    next_words: Sequence[str]
    history: Sequence[OccurrenceRow]


_ROWS = (
    select(models.Schedule, models.Conversation.key, models.Identity.display_name)
    .join(models.Conversation, models.Conversation.id == models.Schedule.conversation_id)
    .outerjoin(models.Identity, models.Identity.id == models.Schedule.owner_id)
)


async def schedules(
    session: AsyncSession, state: str = "", text: str = "", page: int = 1
) -> tuple[int, Sequence[ScheduleRow]]:
    """How many schedules match, and one page of them: those due next first.

    state: one of STATES; empty for those that are not over.
    """
    where: list[ColumnElement[bool]] = [
        models.Schedule.state.in_((state,) if state else ("active", "paused"))
    ]
    if text:
        pattern = like(text)
        columns = (models.Schedule.text, models.Conversation.key, models.Identity.display_name)
        where.append(or_(*(c.ilike(pattern, escape="\\") for c in columns)))
    statement = _ROWS.where(*where)
    counted = statement.with_only_columns(models.Schedule.id).subquery()
    total = await session.scalar(select(func.count()).select_from(counted)) or 0
    rows = await session.execute(
        statement.order_by(
            models.Schedule.due_at.is_(None),
            models.Schedule.due_at,
            models.Schedule.created_at.desc(),
            models.Schedule.id,
        )
        .limit(PAGE_SIZE)
        .offset((page - 1) * PAGE_SIZE)
    )
    return total, [_row(*one) for one in rows]


async def schedule(session: AsyncSession, schedule_id: str, now: float) -> ScheduleDetail:
    """One schedule. Raises NotFound."""
    found = (await session.execute(_ROWS.where(models.Schedule.id == schedule_id))).first()
    if found is None:
        raise NotFound(f"There is no schedule {schedule_id!r}.")
    row: models.Schedule = found[0]
    coming: Sequence[float] = ()
    words: Sequence[str] = ()
    if row.state == "active":
        try:
            spec, zone = spec_of(row)
            coming = next_times(spec, zone, min(now, (row.due_at or now) - 1), NEXT_SHOWN)
            words = [wall(local(one, zone)) for one in coming]
        except ScheduleError:
            pass  # shown with its fail_code; the due-clock pauses it
    return ScheduleDetail(
        row=_row(*found),
        spec=row.spec,
        missed=row.missed,
        overlap=row.overlap,
        options=row.options,
        next_times=coming,
        next_words=words,
        history=await _history(session, schedule_id),
    )


async def _history(session: AsyncSession, schedule_id: str) -> Sequence[OccurrenceRow]:
    rows = await session.execute(
        select(
            models.Occurrence,
            models.Outbox.state,
            models.Inbox.turn_id,
            models.Turn.state,
            models.Conversation.key,
        )
        .outerjoin(models.Outbox, models.Outbox.id == models.Occurrence.outbox_id)
        .outerjoin(models.Inbox, models.Inbox.id == models.Occurrence.inbox_id)
        .outerjoin(models.Turn, models.Turn.id == models.Inbox.turn_id)
        .outerjoin(models.Conversation, models.Conversation.id == models.Inbox.conversation_id)
        .where(models.Occurrence.schedule_id == schedule_id)
        .order_by(models.Occurrence.scheduled_for.desc())
        .limit(HISTORY_MAX)
    )
    return [
        OccurrenceRow(
            id=one.id,
            scheduled_for=one.scheduled_for,
            fired_at=one.fired_at,
            late_s=one.late_s,
            state=one.state,
            reason=one.reason,
            turn_id=one.turn_id or turn_id or "",
            turn_state=turn_state or "",
            delivery=delivery or "",
            told=one.told,
            outbox_id=one.outbox_id or "",
            key=key or "",
            result=one.result,
        )
        for one, delivery, turn_id, turn_state, key in rows
    ]


def _row(row: models.Schedule, key: str, owner: str | None) -> ScheduleRow:
    return ScheduleRow(
        id=row.id,
        code=code_of(row),
        key=key,
        owner=owner or "",
        owner_id=row.owner_id,
        agent=row.agent,
        kind=row.kind,
        text=row.text,
        times=_words(row),
        zone=row.zone,
        due_at=row.due_at,
        state=row.state,
        fails=row.fails,
        fail_code=row.fail_code,
        created_by=row.created_by,
        created_at=row.created_at,
    )


def _words(row: models.Schedule) -> str:
    """What a spec says, in words: `once, Mon 30 Nov 2026 09:00`."""
    try:
        spec, _ = spec_of(row)
    except ScheduleError:
        return "not readable"
    if isinstance(spec, At):
        return f"once, {wall(spec.at)}"
    if isinstance(spec, Cron):
        return f"cron {spec.cron}"
    end = "" if spec.end is None else f" until {wall(spec.end)}"
    return f"every {_interval(spec.every_s)} from {wall(spec.start)}{end}"


def _interval(seconds: int) -> str:
    for size, name in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds % size == 0:
            count = seconds // size
            return name if count == 1 else f"{count} {name}s"
    return f"{seconds} seconds"
