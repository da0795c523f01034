"""Firing schedules: the occurrence, its message or its turn, and the next time, in one transaction.

A pair of a schedule and a time is unique, so a time fires once, whatever the clock does.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost.schedules.spec import ScheduleError
from roost.schedules.times import when
from roost_platform.db import models
from roost_platform.db.base.ids import new_id
from roost_platform.db.enqueue import NewMessage, enqueue_all
from roost_platform.db.schedules.keeping import spec_of
from roost_platform.db.schedules.messages import (
    LATE_S,
    late_words,
    reminder_buttons,
    reminder_text,
    with_words,
)
from roost_platform.db.schedules.planning import Plan, SkipReason, plan
from roost_platform.db.schedules.spending import is_spent
from roost_platform.db.schedules.undelivered import forget_if_delivered
from roost_platform.db.turns.scheduled.ends import JOB_CHANNEL, fork_of
from roost_platform.db.turns.scheduled.titles import title_of
from roost_platform.db.turns.transcript import SCHEDULE_KIND
from roost_platform.schedules.limits import CHECK_TOKENS_A_DAY

MOMENT_S: Final = 0.001  # between two runs that nobody can tell apart
BROKEN: Final = "broken"  # the times can't be read any more

log = logging.getLogger(__name__)

# Times whose turn is not over.
_BUSY = (
    select(models.Occurrence.schedule_id, models.Inbox.state, func.count())
    .join(models.Inbox, models.Inbox.id == models.Occurrence.inbox_id)
    .where(models.Inbox.state.in_(("pending", "held", "taken")))
    .group_by(models.Occurrence.schedule_id, models.Inbox.state)
)


@dataclass(frozen=True, slots=True)
class Due:
    """A schedule whose time has come, with its chat; both are locked."""

    schedule: models.Schedule
    chat: models.Conversation


@dataclass(slots=True)
class _Batch:
    """What is known of all schedules that fire together, and what they want to send."""

    now: float
    fired: frozenset[tuple[str, float]]
    busy: Mapping[str, Mapping[str, int]]
    blocked: frozenset[str]
    messages: list[NewMessage]
    reminders: list[models.Occurrence]
    rung: list[str]


async def fire_due(
    session: AsyncSession, due: Sequence[Due], now: float, check_tokens: int = CHECK_TOKENS_A_DAY
) -> Sequence[str]:
    """Fire schedules and set their next times; returns the conversations to ring.

    check_tokens: what the checks of one schedule may use in a day.
    """
    plans: list[tuple[Due, Plan]] = []
    for one in due:
        try:
            plans.append((one, plan(one.schedule, now)))
        except (ScheduleError, ValueError, OverflowError):
            log.exception("schedule %s can't be read and is paused", one.schedule.id)
            one.schedule.state, one.schedule.fail_code = "paused", BROKEN
    batch = await _batch(session, plans, now)
    for one, planned in plans:
        await _fire_planned(session, batch, one, planned, check_tokens)
    await _send(session, batch)
    return batch.rung


async def fire_now(session: AsyncSession, due: Due, now: float) -> Sequence[str]:
    """Fire a schedule once more, beside its times; returns the conversations to ring."""
    batch = await _batch(session, [], now)
    later = await session.scalars(
        select(models.Occurrence.scheduled_for).where(
            models.Occurrence.schedule_id == due.schedule.id,
            models.Occurrence.scheduled_for >= now,
        )
    )
    taken, at = {*later, due.schedule.due_at}, now
    while at in taken:  # it was run in this very moment, or is due in it
        at += MOMENT_S
    await _fire(session, batch, due, at, 0)
    await _send(session, batch)
    return batch.rung


async def _batch(session: AsyncSession, plans: Sequence[tuple[Due, Plan]], now: float) -> _Batch:
    ids = [one.schedule.id for one, _ in plans]
    times = {at for _, planned in plans for at in (*planned.fire, *planned.skipped)}
    occurred = await session.execute(
        select(models.Occurrence.schedule_id, models.Occurrence.scheduled_for).where(
            models.Occurrence.schedule_id.in_(ids), models.Occurrence.scheduled_for.in_(times)
        )
    )
    busy: dict[str, dict[str, int]] = {}
    works = [one.schedule.id for one, _ in plans if one.schedule.kind != "reminder"]
    if works:
        query = _BUSY.where(models.Occurrence.schedule_id.in_(works))
        for schedule_id, state, count in await session.execute(query):
            busy.setdefault(schedule_id, {})[state] = count
    owners = {one.schedule.owner_id for one, _ in plans} - {""}
    blocked = await session.scalars(
        select(models.Identity.id).where(
            models.Identity.id.in_(owners), models.Identity.access == "blocked"
        )
    )
    fired = frozenset((row[0], row[1]) for row in occurred)
    return _Batch(now, fired, busy, frozenset(blocked), [], [], [])


async def _fire_planned(
    session: AsyncSession, batch: _Batch, due: Due, planned: Plan, check_tokens: int
) -> None:
    schedule = due.schedule
    await forget_if_delivered(session, schedule)
    skip = _reason_to_skip(batch, schedule, planned)
    if not skip and schedule.kind == "check":
        is_over = await is_spent(session, schedule, check_tokens, batch.now)
        skip = "tokens_used_up" if is_over else None
    missed = planned.missed
    for at in planned.skipped:
        _add(session, batch, schedule, at, "skipped", "missed")
    for at in planned.fire:
        if (schedule.id, at) in batch.fired:
            continue  # the clock was put back, or a backup restored
        if skip:
            _add(session, batch, schedule, at, "skipped", skip)
        else:
            await _fire(session, batch, due, at, missed)
        missed = 0
    schedule.due_at, schedule.planned_at = planned.next_due, batch.now
    if planned.next_due is None:
        schedule.state = "done"


def _reason_to_skip(batch: _Batch, schedule: models.Schedule, planned: Plan) -> SkipReason | None:
    if schedule.owner_id in batch.blocked:
        return "blocked"
    busy = batch.busy.get(schedule.id, {})
    waiting = busy.get("pending", 0) + busy.get("held", 0)
    if waiting or (busy and schedule.overlap == "skip"):
        return "overlap"  # `queue` lets one wait behind the one that is worked on
    return "inactive_hours" if planned.is_inactive else None


def _add(
    session: AsyncSession,
    batch: _Batch,
    schedule: models.Schedule,
    at: float,
    state: str,
    reason: str = "",
) -> models.Occurrence | None:
    """Note what became of a time, once."""
    if (schedule.id, at) in batch.fired:
        return None
    row = models.Occurrence(
        id=new_id(),
        schedule_id=schedule.id,
        scheduled_for=at,
        state=state,
        reason=reason,
        late_s=max(batch.now - at, 0.0),
        fired_at=batch.now,
    )
    session.add(row)
    return row


async def _fire(session: AsyncSession, batch: _Batch, due: Due, at: float, missed: int) -> None:
    schedule = due.schedule
    occurrence = _add(session, batch, schedule, at, "fired")
    if occurrence is None:
        return
    if schedule.kind == "reminder":
        buttons = tuple(reminder_buttons(schedule))
        text = reminder_text(schedule, at, batch.now, missed)
        text = with_words(text, buttons, due.chat.channel)
        key = f"schedule:{occurrence.id}"
        batch.messages.append(NewMessage(due.chat, "notice", text, key, buttons))
        batch.reminders.append(occurrence)
        return
    place = due.chat
    if schedule.kind in ("job", "check"):
        place = await _open_job(session, due, occurrence.id, batch.now)
    row = _inbox_row(place, schedule, occurrence, at, batch.now, missed)
    session.add(row)
    occurrence.inbox_id = row.id
    batch.rung.append(place.id)


async def _open_job(
    session: AsyncSession, due: Due, occurrence_id: str, now: float
) -> models.Conversation:
    """A conversation that nobody sees, for one time of a job; its chat's row is its lock."""
    job = models.Conversation(
        id=new_id(),
        key=f"{JOB_CHANNEL}:local:{occurrence_id}",
        channel=JOB_CHANNEL,
        account="local",
        chat=occurrence_id,
        kind="job",
        root_id=due.chat.id,
        depth=1,
        agent=due.schedule.agent,
        identity_id=None,  # the row of its inbox tells who it is for
        title=title_of(due.schedule),
        settings=await fork_of(session, due.chat) if due.schedule.kind == "check" else {},
        inbox_sequence=0,
        turn_count=0,
        created_at=now,
    )
    session.add(job)
    await session.flush()
    return job


def _inbox_row(
    place: models.Conversation,
    schedule: models.Schedule,
    occurrence: models.Occurrence,
    at: float,
    now: float,
    missed: int,
) -> models.Inbox:
    place.inbox_sequence += 1
    _, zone = spec_of(schedule)
    due = f"{when(at, zone)} ({zone.key})"
    if now - at >= LATE_S:
        due = f"{due}, late: {late_words(schedule, at, now, missed)}"
    raw: dict[str, Any] = {"schedule": schedule.id, "kind": schedule.kind, "due": due}
    return models.Inbox(
        id=new_id(),
        conversation_id=place.id,
        sequence=place.inbox_sequence,
        channel=place.channel,
        account=place.account,
        event_id=f"schedule:{occurrence.id}",
        message_id="",
        kind=SCHEDULE_KIND,
        identity_id=schedule.owner_id or None,
        sender={"address": "", "display_name": "schedule"},
        text=schedule.text,
        attachments=[],
        raw=raw,
        state="pending",
        sent_at=at,
        received_at=now,
    )


async def _send(session: AsyncSession, batch: _Batch) -> None:
    if not batch.messages:
        return
    queued = sorted(
        zip(batch.reminders, batch.messages, strict=True), key=lambda one: one[0].scheduled_for
    )
    ids = await enqueue_all(session, [message for _, message in queued], batch.now)
    for (occurrence, _), outbox_id in zip(queued, ids, strict=True):
        occurrence.outbox_id = outbox_id
