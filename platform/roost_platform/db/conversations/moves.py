"""Moves a conversation, and its unsent messages, to the new id of its chat."""

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import Address
from roost_platform.db import models
from roost_platform.db.rows import address_of, lock_conversation


async def move_conversation(
    session: AsyncSession, conversation: models.Conversation, new_chat: str
) -> None:
    """Give the conversation the new id.

    If another conversation in use has that id already, it gets the unsent messages instead.
    """
    old = address_of(conversation)
    key = Address(old.channel, old.account, new_chat, old.thread).key
    other_id = await session.scalar(
        select(models.Conversation.id).where(models.Conversation.key == key)
    )
    other = None if other_id is None else await lock_conversation(session, other_id)
    if other is not None and other.id != conversation.id and not other.inbox_sequence:
        await session.delete(other)  # made in this very transaction, by a message after the move
        await session.flush()
        other = None
    if other is None:
        conversation.chat, conversation.key = new_chat, key
        return
    if other.id == conversation.id:
        return
    rows = await session.scalars(
        select(models.Outbox)
        .where(models.Outbox.conversation_id == conversation.id, models.Outbox.state == "pending")
        .order_by(models.Outbox.sequence)
        .with_for_update()
    )
    unsent = rows.all()
    for entry in unsent:
        entry.conversation_id = other.id
    await session.execute(
        update(models.Part)
        .where(models.Part.outbox_id.in_([entry.id for entry in unsent]))
        .values(conversation_id=other.id)
        .execution_options(synchronize_session=False)
    )
