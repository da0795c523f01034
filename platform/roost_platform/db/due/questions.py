"""Questions to people, as a source of the due-clock: one reminder, then the end of the time."""

from collections.abc import Sequence

from sqlalchemy import bindparam, func, literal_column, select

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.cards.cards import send_reminder
from roost_platform.db.locks import try_lock_conversation
from roost_platform.db.waits.deciding import CLOCK, decide

# The state is written out, so that the index of pending questions is used.
_PENDING = models.Approval.state == literal_column("'pending'")
_NEXT = select(func.min(models.Approval.due_at)).where(_PENDING)
_DUE = (
    select(models.Approval.id, models.Approval.conversation_id)
    .where(_PENDING, models.Approval.due_at <= bindparam("now"))
    .order_by(models.Approval.due_at)
    .limit(bindparam("most"))
)


class DueQuestions:
    """Implements `roost_platform.dueclock.DueSource`.

    A clock that jumps over both times ends the question without a reminder.
    """

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
        rung: list[str | None] = []
        for approval_id, conversation_id in due:
            async with self._database.write() as session:
                if await try_lock_conversation(session, conversation_id) is None:
                    continue
                approval = await session.get_one(models.Approval, approval_id)
                if approval.state != "pending" or approval.due_at > now:
                    continue  # decided, or another clock was here
                if approval.expires_at <= now:
                    rung.append(await decide(session, approval, "expired", CLOCK, now))
                    continue
                approval.due_at, approval.reminded_at = approval.expires_at, now
                await send_reminder(session, approval, now)
        return [conversation_id for conversation_id in rung if conversation_id is not None]
