"""Messages that their writers delete: one that waits is not answered, the agent hears of others."""

from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db.inbox.arrival import Arrival
from roost_platform.db.inbox.changes.originals import (
    is_by_same,
    original_of,
    read_as,
    short_quote,
    tell_agent,
)
from roost_platform.db.reasons import WORDS
from roost_platform.db.turns.transcript import content_of

TOLD = "The user deleted an earlier message: {words}"


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
    seen = await read_as(session, original)
    if seen is None or seen.session_id != arrival.conversation.session_id:
        arrival.conclude("done", "revoked_unseen")
        return
    words = short_quote(content_of(original))
    await tell_agent(session, arrival, seen.session_id, TOLD.format(words=words))
    arrival.conclude("done", "revoked_told")
