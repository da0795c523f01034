"""Tells people in a message of its own that an answer is late, because the engine fails."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.enqueue import enqueue
from roost_platform.db.locks import lock_turn, open_turn
from roost_platform.db.turns.children.limits import root_of
from roost_platform.errors import NotFound, TurnOver
from roost_workflows.turn.endings import DELAYED


async def tell_delay(session: AsyncSession, turn_id: str, now: float) -> None:
    """Queue the notice, once for each turn of the chat that somebody waits for: also where agents
    work for it. What nobody wrote, such as a job, is late without a word.
    """
    try:
        _, conversation = await lock_turn(session, turn_id)
    except (NotFound, TurnOver):
        return
    chat = await root_of(session, conversation)
    waited_for = await open_turn(session, chat.id)
    if waited_for is None or waited_for.stop_requested_at is not None:
        return
    written = select(models.Inbox.id).where(
        models.Inbox.turn_id == waited_for.id, models.Inbox.kind == "message"
    )
    if await session.scalar(written.limit(1)) is None:
        return
    key = f"turn:{waited_for.id}:delayed"
    # It is no message of the turn's own: what is shown of the turn goes on beside it.
    await enqueue(session, chat, kind="notice", body=DELAYED, dedupe_key=key, now=now)
