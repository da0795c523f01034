"""Recording stops: `/stop`, the button, the console and the API record one before anything acts."""

from dataclasses import dataclass

from sqlalchemy import CursorResult, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.commands import stop_answer
from roost_platform.db import models
from roost_platform.db.enqueue import enqueue
from roost_platform.db.locks import running_turn
from roost_platform.db.reasons import WORDS
from roost_platform.queueing import INTERRUPTED


@dataclass(frozen=True, slots=True)
class Stopped:
    """What a stop applied to. turn_id: the running turn, None when nothing ran."""

    conversation_id: str
    turn_id: str | None
    dropped: int

    @property
    def found_something(self) -> bool:
        """Whether a turn was stopped or a message dropped."""
        return self.turn_id is not None or self.dropped > 0


async def record_stop(
    session: AsyncSession,
    conversation: models.Conversation,
    by: str,
    now: float,
    *,
    before: int | None = None,
    cause: str = "",
) -> Stopped:
    """Mark the running turn stopped and drop the messages that wait before `before`.

    The conversation is locked. before: an inbox sequence number; None drops all.
    cause: who stops, a code of endings.STOPPERS; empty for the person in the chat.
    """
    turn = await running_turn(session, conversation.id)
    if turn is not None and (turn.stop_requested_at is None or turn.reason_code == INTERRUPTED):
        turn.stop_requested_at, turn.stop_requested_by, turn.reason_code = now, by, cause
    waiting = [
        models.Inbox.conversation_id == conversation.id,
        models.Inbox.state == "pending",
    ]
    if before is not None:
        waiting.append(models.Inbox.sequence < before)
    result = await session.execute(
        update(models.Inbox)
        .where(*waiting)
        .values(state="dropped", reason_code="stopped", reason=WORDS["stopped"])
        .execution_options(synchronize_session=False)
    )
    dropped = result.rowcount if isinstance(result, CursorResult) else 0
    return Stopped(conversation.id, None if turn is None else turn.id, dropped)


async def interrupt(session: AsyncSession, conversation: models.Conversation, now: float) -> bool:
    """Stop the running turn for a newer message, which then gets a turn; False if none ran."""
    turn = await running_turn(session, conversation.id)
    if turn is None or turn.stop_requested_at is not None:
        return False
    turn.stop_requested_at, turn.stop_requested_by = now, INTERRUPTED
    turn.reason_code = INTERRUPTED
    return True


async def tell_dropped(
    session: AsyncSession, conversation: models.Conversation, stopped: Stopped, now: float
) -> None:
    """Queue a notice about messages that a stop from outside the chat dropped."""
    if stopped.dropped:
        await enqueue(
            session,
            conversation,
            kind="notice",
            body=stop_answer(stopped.dropped, was_running=stopped.turn_id is not None),
            dedupe_key=f"dropped:{conversation.id}:{conversation.inbox_sequence}:{now}",
            now=now,
        )


async def waiting_count(session: AsyncSession, conversation_id: str) -> int:
    """How many messages wait for a turn."""
    count = await session.scalar(
        select(func.count())
        .select_from(models.Inbox)
        .where(models.Inbox.conversation_id == conversation_id, models.Inbox.state == "pending")
    )
    return count or 0
