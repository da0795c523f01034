"""Messages that their writers delete: one that waits is not answered, the agent hears of others."""

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.inbox.arrival import Arrival
from roost_platform.db.inbox.changes.originals import is_by_same, original_of, short_quote
from roost_platform.db.reasons import WORDS
from roost_platform.db.turns.transcript import append, content_of

TOLD = "The user deleted an earlier message: {words}"
_SEEN = (
    select(models.Transcript)
    .where(models.Transcript.inbox_id == bindparam("inbox_id"))
    .order_by(models.Transcript.position.desc())
    .limit(1)
)


async def take_back(session: AsyncSession, arrival: Arrival) -> None:
    """Drop the message if it waits, or tell the agent, who has read it."""
    original = await original_of(session, arrival.row)
    if original is None:
        arrival.conclude("ignored", "revoked_unknown")
        return
    if not is_by_same(original, arrival.row):
        arrival.conclude("ignored", "revoked_unseen")
        return
    if original.state in ("pending", "held"):
        original.state, original.reason_code = "dropped", "revoked"
        original.reason = WORDS["revoked"]
        arrival.conclude("done")
        return
    seen = await session.scalar(_SEEN, {"inbox_id": original.id})
    if seen is None or seen.session_id != arrival.conversation.session_id:
        arrival.conclude("done", "revoked_unseen")
        return
    note = models.Transcript(
        turn_id=None,
        role="system",
        content=TOLD.format(words=short_quote(content_of(original))),
        inbox_id=arrival.row.id,
        message_id=arrival.row.message_id,
        created_at=arrival.now,
    )
    await append(session, await session.get_one(models.Session, seen.session_id), [note])
    arrival.conclude("done", "revoked_told")
