"""Finds the one private chat of a person on an account, whichever id its messages carry.

A person on WhatsApp may hide their phone number behind an id that the network gave us earlier
beside the number. Their messages then still belong to the conversation they have.
"""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, bindparam, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import Address, InboundMessage
from roost_platform.db import models
from roost_platform.db.rows import address_of

_AT = select(models.Conversation.id).where(models.Conversation.key == bindparam("key"))


async def private_home(session: AsyncSession, message: InboundMessage) -> Address:
    """Where a message belongs: its own address, unless its writer has a private chat already."""
    address, sender = message.address, message.sender
    if message.is_group or address.thread or address.chat != sender.address:
        return address
    if await session.scalar(_AT, {"key": address.key}) is not None:
        return address
    names = (sender.address, *sender.aliases)
    home = await session.scalar(
        select(models.Conversation)
        .where(
            models.Conversation.channel == address.channel,
            models.Conversation.account == address.account,
            _is_home_of(address.channel, names),
        )
        .order_by(models.Conversation.created_at)
        .limit(1)
    )
    return address if home is None else address_of(home)


def is_chat(channel: str, account: str, chat: str) -> ColumnElement[bool]:
    """The conversations that a chat's messages belong to, as a condition."""
    return and_(
        models.Conversation.channel == channel,
        models.Conversation.account == account,
        or_(models.Conversation.chat == chat, _is_home_of(channel, (chat,))),
    )


def _is_home_of(channel: str, names: Sequence[str]) -> ColumnElement[bool]:
    """Private chats (groups belong to nobody) of the person with one of these names."""
    person = select(models.Alias.identity_id).where(
        models.Alias.channel == channel, models.Alias.address.in_(names)
    )
    return and_(models.Conversation.thread == "", models.Conversation.identity_id.in_(person))
