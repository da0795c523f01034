"""Closed session windows: parts that wait for the person, and the invitation to write again."""

from sqlalchemy import bindparam, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.enqueue import enqueue, next_outbox_sequence

# This runs for every message, and nearly always finds nothing.
_HELD = select(models.Part.id).where(
    models.Part.conversation_id == bindparam("id"), models.Part.held
)
_INVITED = select(models.Outbox.id).where(
    models.Outbox.conversation_id == bindparam("id"),
    models.Outbox.kind == "invitation",
    models.Outbox.state == "pending",
)
_WAITS = select(or_(_HELD.exists(), _INVITED.exists()))


async def hold_part(
    session: AsyncSession,
    conversation: models.Conversation,
    entry: models.Outbox,
    part: models.Part,
    *,
    until: float,
    invitation: str,
    now: float,
) -> None:
    """Keep a refused part until the person writes; the caller has locked all three rows.

    A person who wrote after the request left has opened the window: it is tried again at once.
    """
    has_written = (conversation.last_inbound_at or 0.0) > (part.started_at or now)
    part.state, part.held, part.lease_until = "not_sent", not has_written, None
    part.next_at = now if has_written else until
    if entry.state == "pending":
        entry.next_at = part.next_at
    if invitation and not has_written:
        await _invite(session, conversation, invitation, now)


async def _invite(
    session: AsyncSession, conversation: models.Conversation, text: str, now: float
) -> None:
    """Queue the invitation before everything in the lane, once until the person writes."""
    key = f"invitation:{conversation.id}:{conversation.last_inbound_at}"
    queued = await enqueue(
        session, conversation, kind="invitation", body=text, dedupe_key=key, now=now
    )
    entry = await session.get_one(models.Outbox, queued)
    if entry.sequence > 0:
        entry.sequence = await _first_of_all(session)


async def _first_of_all(session: AsyncSession) -> int:
    """An unused sequence number below zero, which comes before all entries of a lane."""
    if session.get_bind().dialect.name == "postgresql":
        return -await next_outbox_sequence(session)
    lowest = await session.scalar(select(func.min(models.Outbox.sequence)))
    return min(lowest or 0, 0) - 1


async def wake_held(session: AsyncSession, conversation: models.Conversation, now: float) -> None:
    """The person wrote: parts that waited for it may go at once, without an invitation."""
    if not await session.scalar(_WAITS, {"id": conversation.id}):
        return
    held = models.Part.conversation_id == conversation.id, models.Part.held
    await session.execute(
        update(models.Outbox)
        .where(models.Outbox.id.in_(select(models.Part.outbox_id).where(*held)))
        .values(next_at=now)
        .execution_options(synchronize_session=False)
    )
    await session.execute(
        update(models.Part)
        .where(*held)
        .values(held=False, next_at=now)
        .execution_options(synchronize_session=False)
    )
    begun = select(models.Part.id).where(
        models.Part.outbox_id == models.Outbox.id, models.Part.state != "planned"
    )
    await session.execute(
        update(models.Outbox)
        .where(
            models.Outbox.conversation_id == conversation.id,
            models.Outbox.kind == "invitation",
            models.Outbox.state == "pending",
            ~begun.exists(),
        )
        .values(state="cancelled", finished_at=now)
        .execution_options(synchronize_session=False)
    )
