"""Tells people in a message of its own that an answer is late, because the engine fails."""

from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db.enqueue import enqueue
from roost_platform.db.locks import lock_turn
from roost_platform.db.turns.scheduled.ends import where_to_tell
from roost_platform.errors import NotFound, TurnOver
from roost_workflows.turn.endings import DELAYED


async def tell_delay(session: AsyncSession, turn_id: str, now: float) -> None:
    """Queue the notice, once for a turn; a turn that is over needs none."""
    try:
        turn, conversation = await lock_turn(session, turn_id)
    except (NotFound, TurnOver):
        return
    if turn.stop_requested_at is not None:
        return
    chat = await where_to_tell(session, turn, conversation)
    if chat is not None:
        key = f"turn:{turn_id}:delayed"
        # It is no message of the turn's own: what is shown of the turn goes on beside it.
        await enqueue(session, chat, kind="notice", body=DELAYED, dedupe_key=key, now=now)
