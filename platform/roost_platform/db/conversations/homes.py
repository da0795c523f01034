"""The conversation that an event belongs to, where its own address does not say it.

There is one private chat per person and account, under whatever name its messages come: a person
on WhatsApp may hide the phone number behind an id that the network gave us beside it before.
"""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import ColumnElement, and_, bindparam, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from roost_channels.message import CARD_BUTTON, SCHEDULE_BUTTON, Address, InboundMessage
from roost_platform import commands
from roost_platform.db import models
from roost_platform.db.conversations.addresses import address_of

_AT = select(models.Conversation.id).where(models.Conversation.key == bindparam("key"))


async def home_of(session: AsyncSession, event: InboundMessage) -> Address:
    """The address of the conversation that an event belongs to.

    A button under a message too old to be shown comes without its topic; a chat that moved is
    known by its new id; a person may write under another of their names.
    """
    if event.kind == "callback":
        thread = await _thread_of_button(session, event)
        if thread is not None:
            return replace(event.address, thread=thread)
    if event.kind == "migrated":
        return await _before_move(session, event)
    address, sender = event.address, event.sender
    if event.is_group or address.thread or address.chat != sender.address:
        return address
    if await session.scalar(_AT, {"key": address.key}) is not None:
        return address
    return await _home(session, address, (sender.address, *sender.aliases)) or address


async def _home(session: AsyncSession, address: Address, names: Sequence[str]) -> Address | None:
    """Where the person with one of these names talks to the account; None for a stranger."""
    stored = await session.scalar(
        select(models.Conversation)
        .where(
            models.Conversation.channel == address.channel,
            models.Conversation.account == address.account,
            _is_home_of(address.channel, names),
        )
        .order_by(models.Conversation.created_at)
        .limit(1)
    )
    return None if stored is None else address_of(stored)


async def _before_move(session: AsyncSession, event: InboundMessage) -> Address:
    """The address that a chat has until it moves; the new one once it has moved."""
    address = event.address
    if await session.scalar(_AT, {"key": address.key}) is not None:
        return address
    # A person's chat may be stored under another of the names from before.
    return await _home(session, address, event.former_names) or replace(address, chat=event.text)


async def _thread_of_button(session: AsyncSession, event: InboundMessage) -> str | None:
    """The thread in which the pressed button is; None where the chat does not match."""
    pressed = commands.parse(event.text, "callback")
    of: models.Turn | models.Schedule | None = None
    chat_id: str | None = None
    if pressed is not None:
        of = await session.get(models.Turn, pressed.turn_id)
    elif event.text.startswith(CARD_BUTTON):
        nonce = event.text.removeprefix(CARD_BUTTON).partition(":")[0]
        chat_id = await session.scalar(
            select(models.Approval.chat_id).where(models.Approval.nonce == nonce)
        )
    elif event.text.startswith(SCHEDULE_BUTTON):
        schedule_id = event.text.removeprefix(SCHEDULE_BUTTON).partition(":")[0]
        of = await session.get(models.Schedule, schedule_id)
    chat_id = of.conversation_id if of is not None else chat_id
    if chat_id is None:
        return None
    stored = await session.get_one(models.Conversation, chat_id)
    pressed_in = (event.address.channel, event.address.account, event.address.chat)
    is_here = (stored.channel, stored.account, stored.chat) == pressed_in
    return stored.thread if is_here else None


def is_chat(channel: str, account: str, chat: str) -> ColumnElement[bool]:
    """An SQL condition: the conversations that a chat's messages belong to."""
    return and_(
        models.Conversation.channel == channel,
        models.Conversation.account == account,
        or_(models.Conversation.chat == chat, _is_home_of(channel, (chat,))),
    )


def _is_home_of(channel: str, names: Sequence[str]) -> ColumnElement[bool]:
    """An SQL condition: private chats of the person with one of these names; groups belong to
    nobody, and chats stay apart that a person linked.
    """
    named, of_chat = aliased(models.Alias), aliased(models.Alias)
    is_same = select(named.address).where(
        named.channel == channel,
        named.address.in_(names),
        named.identity_id == models.Conversation.identity_id,
        of_chat.channel == channel,
        of_chat.address == models.Conversation.chat,
        of_chat.identity_id == named.identity_id,
        of_chat.linked_from == named.linked_from,
    )
    person = select(models.Alias.identity_id).where(
        models.Alias.channel == channel, models.Alias.address.in_(names)
    )
    return and_(
        models.Conversation.thread == "",
        models.Conversation.identity_id.in_(person),
        is_same.exists(),
    )
