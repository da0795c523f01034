"""The rows that an accepted event makes: its conversation, when new, and its own."""

from dataclasses import asdict

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import Address, InboundMessage
from roost_platform.db import models
from roost_platform.db.rows import clean, insert_missing, lock_conversation, new_id


async def conversation_at(
    session: AsyncSession, address: Address, now: float, agent: str
) -> models.Conversation:
    """The conversation of an address, made when new, and locked."""
    by_key = select(models.Conversation.id).where(models.Conversation.key == address.key)
    found = await session.scalar(by_key)
    if found is None:
        await insert_missing(
            session,
            models.Conversation,
            id=new_id(),
            key=address.key,
            channel=address.channel,
            account=address.account,
            chat=address.chat,
            thread=address.thread,
            agent=agent,
            title="",
            settings={},
            inbox_sequence=0,
            turn_count=0,
            created_at=now,
        )
        found = await session.scalar(by_key)
    assert found is not None
    return await lock_conversation(session, found)


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
