"""The rows that an accepted event makes: its conversation, when new, and its own."""

from dataclasses import asdict

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import Address, InboundMessage
from roost_platform.db import models
from roost_platform.db.rows import clean, insert_missing, new_id

_LOCK_AT = (
    select(models.Conversation).where(models.Conversation.key == bindparam("key")).with_for_update()
)


async def conversation_at(
    session: AsyncSession, address: Address, now: float, agent: str
) -> models.Conversation:
    """The conversation of an address, made when new, and locked."""
    by_key = {"key": address.key}
    conversation = await session.scalar(_LOCK_AT, by_key)
    if conversation is None:
        await insert_missing(
            session,
            models.Conversation,
            id=new_id(),
            key=address.key,
            channel=address.channel,
            account=address.account,
            chat=address.chat,
            thread=address.thread,
            is_group=address.is_group,
            agent=agent,
            title="",
            settings={},
            inbox_sequence=0,
            turn_count=0,
            created_at=now,
        )
        conversation = await session.scalar(_LOCK_AT, by_key)
    assert conversation is not None
    if address.is_group:  # events that don't tell what a chat is may have come first
        conversation.is_group = True
    return conversation


def inbox_row(
    conversation: models.Conversation, message: InboundMessage, now: float
) -> models.Inbox:
    quote = None if message.quote is None else clean(asdict(message.quote))
    return models.Inbox(
        id=new_id(),
        conversation_id=conversation.id,
        sequence=conversation.inbox_sequence,
        channel=message.address.channel,
        account=message.address.account,
        event_id=message.event_id,
        message_id=message.message_id,
        kind=message.kind,
        album=clean(message.album) or None,
        sender=clean(asdict(message.sender)),
        text=clean(message.text),
        quote=quote,
        attachments=[],
        raw=clean(message.raw),
        state="done",
        reason="",
        sent_at=message.sent_at,
        received_at=now,
    )
