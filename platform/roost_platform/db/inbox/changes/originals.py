"""The message that an edit or a deletion speaks of, and how the agent is told of it."""

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.base.text import quoted
from roost_platform.db.inbox.arrival import Arrival
from roost_platform.db.turns.transcript import append

SHOWN_MAX = 2000  # characters of a message in what the agent is told of it
_READ = (
    select(models.Transcript)
    .where(models.Transcript.inbox_id == bindparam("inbox_id"))
    .order_by(models.Transcript.position.desc())
    .limit(1)
)


async def original_of(session: AsyncSession, row: models.Inbox) -> models.Inbox | None:
    """The message with the event's message id; None where none came."""
    found: models.Inbox | None = await session.scalar(
        select(models.Inbox)
        .where(
            models.Inbox.conversation_id == row.conversation_id,
            models.Inbox.message_id == row.message_id,
            models.Inbox.kind == "message",
        )
        .order_by(models.Inbox.sequence.desc())
        .limit(1)
    )
    return found


async def read_as(session: AsyncSession, row: models.Inbox) -> models.Transcript | None:
    """What the agent read the message as; None where it did not."""
    found: models.Transcript | None = await session.scalar(_READ, {"inbox_id": row.id})
    return found


async def tell_agent(
    session: AsyncSession, arrival: Arrival, session_id: str, content: str
) -> models.Transcript:
    """Tell the agent at the end of its session what the event did; returns the note."""
    note = models.Transcript(
        turn_id=None,
        role="system",
        content=content,
        inbox_id=arrival.row.id,
        message_id=arrival.row.message_id,
        created_at=arrival.now,
    )
    await append(session, await session.get_one(models.Session, session_id), [note])
    return note


def is_by_same(one: models.Inbox, other: models.Inbox) -> bool:
    """Whether one person wrote both, under whichever of their names."""
    if one.identity_id is not None and one.identity_id == other.identity_id:
        return True
    return not _names(one).isdisjoint(_names(other))


def _names(row: models.Inbox) -> set[str]:
    return {str(row.sender.get("address", "")), *row.sender.get("aliases", ())}


def short_quote(text: str) -> str:
    """The text in one line between quotation marks that it can't close itself."""
    short = text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]} […]"
    return quoted(short)
