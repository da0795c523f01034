"""Conversations by their addresses."""

from collections.abc import Iterable
from typing import cast

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import Address, ChannelName
from roost_platform.db import models
from roost_platform.db.base.ids import new_id
from roost_platform.db.base.insert import insert_missing

_LOCK_AT = (
    select(models.Conversation).where(models.Conversation.key == bindparam("key")).with_for_update()
)


def address_of(conversation: models.Conversation) -> Address:
    """The address that a stored conversation stands for."""
    return Address(
        cast(ChannelName, conversation.channel),
        conversation.account,
        conversation.chat,
        conversation.thread,
    )


async def lock_conversations(
    session: AsyncSession, addresses: Iterable[Address], now: float, agent: str
) -> dict[str, models.Conversation]:
    """The conversations of these addresses by key, made when new, locked in the keys' order."""
    by_key = {address.key: address for address in addresses}
    locked = {}
    for key in sorted(by_key):
        conversation = await session.scalar(_LOCK_AT, {"key": key})
        if conversation is None:
            await _insert(session, by_key[key], now, agent)
            conversation = await session.scalar(_LOCK_AT, {"key": key})
        assert conversation is not None
        locked[key] = conversation
    return locked


async def _insert(session: AsyncSession, address: Address, now: float, agent: str) -> None:
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
