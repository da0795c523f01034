"""Schedules, as a source of the due-clock: many of them fire in one transaction."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Select, bindparam, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.schedules.clocks import AHEAD_S, plan_again
from roost_platform.db.schedules.firing import Due, fire_due
from roost_platform.schedules.limits import CHECK_TOKENS_A_DAY

CHATS_FACTOR: Final = 10  # rows of one transaction beyond its limit, so that chats stay whole
TRANSACTIONS_MAX: Final = 10  # of one call: many reminders are due at nine in the morning

# The state is written out, so that the index of active schedules is used.
_ACTIVE = models.Schedule.state == literal_column("'active'")
_NEXT = select(
    select(func.min(models.Schedule.due_at)).where(_ACTIVE).scalar_subquery(),
    select(func.max(models.Schedule.planned_at)).scalar_subquery(),
)
_DUE = (
    select(models.Schedule.id, models.Schedule.conversation_id)
    .where(_ACTIVE, models.Schedule.due_at <= bindparam("now"))
    .order_by(models.Schedule.due_at, models.Schedule.id)
    .limit(bindparam("most"))
)
# All that is due in some chats: people read what is late in the order in which it was due.
_DUE_IN = (
    select(models.Schedule.id, models.Schedule.conversation_id)
    .where(
        _ACTIVE,
        models.Schedule.due_at <= bindparam("now"),
        models.Schedule.conversation_id.in_(bindparam("chats", expanding=True)),
    )
    .order_by(models.Schedule.due_at, models.Schedule.id)
    .limit(bindparam("most"))
)
# Those whose due time was found by a clock that was ahead of `now`.
_AHEAD = (
    select(models.Schedule.id, models.Schedule.conversation_id)
    .where(models.Schedule.planned_at > bindparam("now"))
    .order_by(models.Schedule.planned_at, models.Schedule.id)
    .limit(bindparam("most"))
)
# Schedules are kept in chats, which are the locks of their trees.
_CHATS = (
    select(models.Conversation)
    .where(models.Conversation.id.in_(bindparam("ids", expanding=True)))
    .order_by(models.Conversation.id)
    .with_for_update(skip_locked=True)
)
_ROWS = (
    select(models.Schedule)
    .where(models.Schedule.id.in_(bindparam("ids", expanding=True)))
    .order_by(models.Schedule.due_at, models.Schedule.id)
    .with_for_update(skip_locked=True)
    .execution_options(populate_existing=True)
)
_CLAIM = _ROWS.where(_ACTIVE, models.Schedule.due_at <= bindparam("now"))
_CLAIM_AHEAD = _ROWS.where(models.Schedule.planned_at > bindparam("now"))


class DueSchedules:
    """Implements `roost_platform.dueclock.DueSource`.

    Conversations are locked in the order of their ids, and what somebody else holds is left for
    the next look, so that two clocks neither wait for each other nor fire the same time.

    check_tokens: what the checks of one schedule may use in a day.
    """

    def __init__(self, database: Database, check_tokens: int = CHECK_TOKENS_A_DAY) -> None:
        self._database = database
        self._check_tokens = check_tokens

    async def next_due(self) -> float | None:
        """See `DueSource.next_due`."""
        async with self._database.read() as session:
            due_at, planned_at = (await session.execute(_NEXT, {})).one()
        if planned_at is not None and planned_at > self._database.now() + AHEAD_S:
            return 0.0  # the clock was put back: look at once
        return None if due_at is None else float(due_at)

    async def fire(self, now: float, limit: int) -> Sequence[str]:
        """See `DueSource.fire`; up to `limit` rows in each of a few transactions."""
        await self._put_back(now, limit)
        rung: list[str] = []
        for _ in range(TRANSACTIONS_MAX):
            found = await self._due(now, limit)
            if not found:
                break
            async with self._database.write() as session:
                due = await _claim(session, _CLAIM, found_in(found), now)
                rung += await fire_due(session, due, now, self._check_tokens)
            if len(due) < len(found):
                break  # somebody holds the others
        return rung

    async def _due(self, now: float, limit: int) -> Sequence[tuple[str, str]]:
        """The (id, conversation) of the next schedules, with all others of these chats."""
        async with self._database.read() as session:
            found = (await session.execute(_DUE, {"now": now, "most": limit})).all()
            if len(found) == limit:
                chats = {"chats": list({chat for _, chat in found}), "most": limit * CHATS_FACTOR}
                found = (await session.execute(_DUE_IN, {"now": now, **chats})).all()
        return [(row[0], row[1]) for row in found]

    async def _put_back(self, now: float, limit: int) -> None:
        """Let schedules be due in the present that a clock which was ahead made due in a future."""
        ahead = {"now": now + AHEAD_S}
        for _ in range(TRANSACTIONS_MAX):
            async with self._database.read() as session:
                found = (await session.execute(_AHEAD, {**ahead, "most": limit})).all()
            if not found:
                break
            async with self._database.write() as session:
                rows = await _claim(session, _CLAIM_AHEAD, found_in(found), ahead["now"])
                for row in rows:
                    await plan_again(session, row.schedule, now)
            if len(rows) < len(found):
                break


def found_in(rows: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """The ids of due schedules by their conversations, in the order of these."""
    found: dict[str, list[str]] = {}
    for schedule_id, conversation_id in sorted(rows, key=lambda row: row[1]):
        found.setdefault(conversation_id, []).append(schedule_id)
    return found


async def _claim(
    session: AsyncSession, claim: Select[Any], found: dict[str, list[str]], now: float
) -> list[Due]:
    """The schedules that are still to be claimed, with their conversations; all locked."""
    locked = await session.scalars(_CHATS, {"ids": list(found)})
    chats = {chat.id: chat for chat in locked}
    ids = [id for chat_id in chats for id in found[chat_id]]
    rows = await session.scalars(claim, {"ids": ids, "now": now})
    return [Due(row, chats[row.conversation_id]) for row in rows]
