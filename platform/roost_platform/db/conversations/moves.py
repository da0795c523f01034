"""A chat that gets a new id: its conversation and its unsent messages follow."""

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import Address
from roost_platform.db import models
from roost_platform.db.conversations.addresses import address_of
from roost_platform.db.locks import lock_conversation


async def move_conversation(
    session: AsyncSession,
    conversation: models.Conversation,
    new_chat: str,
    *,
    is_person: bool = False,
) -> None:
    """Give the conversation the new chat id.

    Where another conversation has that id already and has messages of its own, only the unsent
    messages and the schedules move there. is_person: the old id may soon be somebody else's, so the
    conversation leaves it in any case, and the other one is set aside.
    """
    old = address_of(conversation)
    key = Address(old.channel, old.account, new_chat, old.thread).key
    other_id = await session.scalar(
        select(models.Conversation.id).where(models.Conversation.key == key)
    )
    other = None if other_id is None else await lock_conversation(session, other_id)
    if other is not None and other.id != conversation.id and not other.inbox_sequence:
        await session.delete(other)  # created in this transaction, by a message after the move
        await session.flush()
        other = None
    if other is not None and other.id != conversation.id and is_person:
        other.thread = f"before {conversation.id}"
        other.key = address_of(other).key
        await session.flush()
        other = None
    if other is None:
        conversation.chat, conversation.key = new_chat, key
        return
    if other.id == conversation.id:
        return
    await session.execute(
        update(models.Schedule)
        .where(models.Schedule.conversation_id == conversation.id)
        .values(conversation_id=other.id)
        .execution_options(synchronize_session=False)
    )
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
