"""Sleeps of calls, as a source of the due-clock."""

from collections.abc import Sequence

from sqlalchemy import bindparam, func, literal_column, select

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.locks import try_lock_conversation
from roost_platform.db.turns.parking import make_ready

# The state is written out, so that the index of waiting calls is used.
_WAITS = models.ToolCall.state == literal_column("'waiting'")
_NEXT = select(func.min(models.ToolCall.due_at)).where(_WAITS)
_DUE = (
    select(
        models.ToolCall.turn_id,
        models.ToolCall.step,
        models.ToolCall.call_id,
        models.Turn.conversation_id,
    )
    .join(models.Turn, models.Turn.id == models.ToolCall.turn_id)
    .where(_WAITS, models.ToolCall.due_at <= bindparam("now"))
    .order_by(models.ToolCall.due_at)
    .limit(bindparam("most"))
)


class DueSleeps:
    """Implements `roost_platform.dueclock.DueSource`: a sleep that is over lets its call go on."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def next_due(self) -> float | None:
        """See `DueSource.next_due`."""
        async with self._database.read() as session:
            return await session.scalar(_NEXT, {})

    async def fire(self, now: float, limit: int) -> Sequence[str]:
        """See `DueSource.fire`."""
        async with self._database.read() as session:
            due = (await session.execute(_DUE, {"now": now, "most": limit})).all()
        rung = []
        for turn_id, step, call_id, conversation_id in due:
            async with self._database.write() as session:
                if await try_lock_conversation(session, conversation_id) is None:
                    continue
                call = await session.get_one(models.ToolCall, (turn_id, step, call_id))
                if call.due_at is None or call.due_at > now:
                    continue  # another clock was here
                rung.append(await make_ready(session, turn_id, step, call_id))
        return [conversation_id for conversation_id in rung if conversation_id is not None]
