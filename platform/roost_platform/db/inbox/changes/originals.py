"""The message that an edit or a deletion speaks of, and how the agent is told of it."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.base.text import quoted

SHOWN_MAX = 2000  # characters of a message in what the agent is told of it


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
