"""The person whom a turn answers."""

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models

_WRITER = (
    select(models.Inbox.identity_id)
    .where(models.Inbox.turn_id == bindparam("id"))
    .order_by(models.Inbox.sequence.desc())
    .limit(1)
)


async def person_of(
    session: AsyncSession, turn: models.Turn, conversation: models.Conversation
) -> models.Identity | None:
    """The person whom the turn answers: the sender of its newest message."""
    newest = await session.scalar(_WRITER, {"id": turn.id})
    identity_id = newest or conversation.identity_id
    return None if identity_id is None else await session.get(models.Identity, identity_id)
