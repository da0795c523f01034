"""Keeping a schedule: once for each call that makes it, within the bounds of its owner."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost.schedules.kinds import Kind, Missed, Overlap
from roost.schedules.spec import At, ScheduleError, Spec, read_spec
from roost.schedules.times import SHOWN, check, echo, next_times
from roost.schedules.zones import zone_of
from roost_platform.db import models
from roost_platform.db.base.ids import new_id
from roost_platform.db.base.text import clean
from roost_platform.db.schedules.options import check_options

PERSON_MAX: Final = 50  # schedules of one person that are not over
TEXT_CHARS_MAX: Final = 4000
CODE_CHARS: Final = 6  # of an id's end, by which people name a schedule
LIVE: Final = ("active", "paused")
_MISSED: Final[Mapping[Kind, Missed]] = {
    "reminder": "late",
    "task": "once",
    "job": "once",
    "check": "skip",
}


@dataclass(frozen=True, slots=True)
class NewSchedule:
    """What is to be done, and when. key: of the call or message that makes it, which keeps it once.

    zone: an IANA name. missed: None for what suits the kind. created_by: person, agent or operator.
    """

    kind: Kind
    text: str
    spec: Spec
    zone: str
    key: str
    created_by: str
    missed: Missed | None = None
    overlap: Overlap = "skip"
    options: Mapping[str, Any] = field(default_factory=dict)


async def keep(
    session: AsyncSession,
    conversation: models.Conversation,
    owner_id: str,
    new: NewSchedule,
    now: float,
) -> models.Schedule:
    """Keep a schedule, once for each key. Raises ScheduleError, which says how to mend it.

    The conversation is locked.
    """
    kept = await session.scalar(
        select(models.Schedule).where(
            models.Schedule.conversation_id == conversation.id, models.Schedule.key == new.key
        )
    )
    if kept is not None:
        return kept
    text = clean(new.text).strip()
    if not text or len(text) > TEXT_CHARS_MAX:
        raise ScheduleError(f"The text of a schedule has 1 to {TEXT_CHARS_MAX} characters.")
    check_options(new.options)
    zone = zone_of(new.zone)
    first = check(new.spec, zone, now, is_check=new.kind == "check")[0]
    if await live_count(session, conversation, owner_id) >= PERSON_MAX:
        raise ScheduleError(
            f"There are {PERSON_MAX} schedules already, the most that one person may have. "
            "Delete one first: /schedules shows them."
        )
    row = models.Schedule(
        id=new_id(),
        conversation_id=conversation.id,
        key=new.key,
        owner_id=owner_id,
        agent=conversation.agent,
        kind=new.kind,
        text=text,
        spec=new.spec.as_dict(),
        zone=new.zone,
        missed=new.missed or _MISSED[new.kind],
        overlap=new.overlap,
        options=dict(new.options),
        due_at=first,
        planned_at=now,
        state="active",
        created_by=new.created_by,
        created_at=now,
    )
    session.add(row)
    await session.flush()
    return row


async def live_count(
    session: AsyncSession, conversation: models.Conversation, owner_id: str
) -> int:
    """How many schedules of the person are not over; of the chat where it is nobody's."""
    whose = (
        models.Schedule.owner_id == owner_id
        if owner_id
        else models.Schedule.conversation_id == conversation.id
    )
    query = select(func.count()).where(whose, models.Schedule.state.in_(LIVE))
    return await session.scalar(query) or 0


async def live_of(
    session: AsyncSession, conversation_id: str, owner_id: str | None = None
) -> Sequence[models.Schedule]:
    """The schedules of a chat that are not over, the next one first; of one person if given."""
    query = (
        select(models.Schedule)
        .where(models.Schedule.conversation_id == conversation_id, models.Schedule.state.in_(LIVE))
        .order_by(models.Schedule.due_at.is_(None), models.Schedule.due_at, models.Schedule.id)
    )
    if owner_id is not None:
        query = query.where(models.Schedule.owner_id == owner_id)
    return (await session.scalars(query)).all()


def spec_of(schedule: models.Schedule) -> tuple[Spec, ZoneInfo]:
    """The times of a stored schedule. Raises ScheduleError if they can't be read any more."""
    try:
        zone = zone_of(schedule.zone)
    except LookupError as error:
        raise ScheduleError(f"{error} Delete this schedule, and make a new one.") from None
    return read_spec(schedule.spec, zone, schedule.created_at), zone


def is_single(schedule: models.Schedule) -> bool:
    """Whether it comes only once."""
    spec, _ = spec_of(schedule)
    return isinstance(spec, At)


def echo_of(schedule: models.Schedule, now: float) -> str:
    """The next times of a schedule that is active, in its zone; also one that is due by now."""
    spec, zone = spec_of(schedule)
    return echo(next_times(spec, zone, min(now, (schedule.due_at or now) - 1), SHOWN), zone)


def named(rows: Sequence[models.Schedule], code: str) -> models.Schedule | None:
    """The one that a code names, or its whole id; None where none is, or it might be two."""
    word = code.strip("` ").lower()
    found = [row for row in rows if len(word) >= CODE_CHARS and row.id.endswith(word)]
    return found[0] if len(found) == 1 else None


def code_of(schedule: models.Schedule) -> str:
    """The word by which people name a schedule."""
    return schedule.id[-CODE_CHARS:]
