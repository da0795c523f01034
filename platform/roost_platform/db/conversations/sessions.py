"""The sessions of a conversation: one is current, and `/new` opens the next."""

from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.base.ids import new_id


async def current_session(
    session: AsyncSession, conversation: models.Conversation, now: float
) -> models.Session:
    """The conversation's current session, opened when there is none."""
    if conversation.session_id is not None:
        current = await session.get(models.Session, conversation.session_id)
        if current is not None:
            return current
    return await open_session(session, conversation, now)


async def open_session(
    session: AsyncSession, conversation: models.Conversation, now: float
) -> models.Session:
    """Close the current session, if any, and make a new one current."""
    number = 1
    if conversation.session_id is not None:
        old = await session.get(models.Session, conversation.session_id)
        if old is not None:
            old.closed_at = now
            number = old.number + 1
    row = models.Session(
        id=new_id(),
        conversation_id=conversation.id,
        number=number,
        agent=conversation.agent,
        transcript_length=0,
        created_at=now,
    )
    session.add(row)
    conversation.session_id = row.id
    return row
