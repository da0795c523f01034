"""Conversations by their addresses."""

from collections.abc import Iterable

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import Address
from roost_platform.db import models
from roost_platform.db.base.ids import new_id
from roost_platform.db.base.insert import insert_missing

_LOCK_AT = (
    select(models.Conversation).where(models.Conversation.key == bindparam("key")).with_for_update()
)


def address_of(conversation: models.Conversation) -> Address:
    """The address that a stored conversation stands for."""
    return Address(
        conversation.channel,
        conversation.account,
        conversation.chat,
        conversation.thread,
        conversation.is_group,
    )


async def lock_conversations(
    session: AsyncSession, addresses: Iterable[Address], now: float, agent: str
) -> dict[str, models.Conversation]:
    """The conversations of these addresses by key, made when new, locked in the keys' order."""
    # Of one chat's events the one that tells that it is a group comes last, and is kept.
    by_key = {one.key: one for one in sorted(addresses, key=lambda one: one.is_group)}
    locked = {}
    for key in sorted(by_key):
        conversation = await session.scalar(_LOCK_AT, {"key": key})
        if conversation is None:
            await _insert(session, by_key[key], now, agent)
            conversation = await session.scalar(_LOCK_AT, {"key": key})
        assert conversation is not None
        if by_key[key].is_group:  # events that don't tell what a chat is may have come first
            conversation.is_group = True
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
        is_group=address.is_group,
        agent=agent,
        title="",
        settings={},
        inbox_sequence=0,
        turn_count=0,
        created_at=now,
    )
