"""A person who has a new name on the network: a new phone number, as the network tells us."""

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import InboundMessage
from roost_platform.db import models
from roost_platform.db.conversations.moves import move_conversation
from roost_platform.db.locks import lock_conversation

BY_ALLOWLIST = "policy:allowlist"
# Outlasts the setting, which names the number from before.
BY_RENAME = "change of number"


async def rename(session: AsyncSession, event: InboundMessage, now: float) -> bool:
    """Let the person of the former names be known by the sender's names alone, with the access and
    the conversations they had.

    The old number may soon be somebody else's, so it opens nothing any more. False, and nothing
    changes, where the new name is a blocked person's; True where the old one is nobody's.
    """
    channel, names = event.address.channel, (event.sender.address, *event.sender.aliases)
    persons = await _people(session, channel, event.former_names)
    if not persons:
        return True
    person = persons[0]
    others = [one for one in await _people(session, channel, names) if one.id != person.id]
    if any(other.access == "blocked" for other in others):
        return False
    former = await _aliases(session, channel, event.former_names)
    linked_from = next((a.linked_from for a in former if a.identity_id == person.id), "")
    for alias in former:
        await session.delete(alias)
    kept = {alias.address: alias for alias in await _aliases(session, channel, names)}
    for name in names:
        if name in kept:
            kept[name].identity_id, kept[name].linked_from = person.id, linked_from
        else:
            session.add(_alias(channel, name, person, linked_from, now))
    await session.flush()
    for other in others:
        if other.access == "pending":  # they wrote under the new name before we heard of it
            await _take_held(session, other, person)
    if person.decided_by_policy and person.decided_by == BY_ALLOWLIST:
        person.decided_by_policy, person.decided_by = False, BY_RENAME
    await _move(session, event, person)
    return True


async def _people(
    session: AsyncSession, channel: str, names: Sequence[str]
) -> Sequence[models.Identity]:
    found = await session.scalars(
        select(models.Identity)
        .join(models.Alias, models.Alias.identity_id == models.Identity.id)
        .where(models.Alias.channel == channel, models.Alias.address.in_(names))
        .order_by(models.Identity.created_at)
    )
    return found.unique().all()


async def _aliases(
    session: AsyncSession, channel: str, names: Sequence[str]
) -> Sequence[models.Alias]:
    found = await session.scalars(
        select(models.Alias).where(models.Alias.channel == channel, models.Alias.address.in_(names))
    )
    return found.all()


def _alias(
    channel: str, name: str, person: models.Identity, linked_from: str, now: float
) -> models.Alias:
    return models.Alias(
        channel=channel,
        address=name,
        identity_id=person.id,
        linked_from=linked_from,
        username="",
        created_at=now,
    )


async def _take_held(
    session: AsyncSession, other: models.Identity, person: models.Identity
) -> None:
    """Give the person what was held of the stranger; it waits for a turn if they are admitted."""
    values = {"identity_id": person.id}
    if person.access == "allowed":
        values |= {"state": "pending", "reason_code": "", "reason": ""}
    await session.execute(
        update(models.Inbox)
        .where(models.Inbox.identity_id == other.id, models.Inbox.state == "held")
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    await session.execute(
        update(models.Pairing)
        .where(
            models.Pairing.identity_id == other.id,
            models.Pairing.state.not_in(("approved", "refused")),
        )
        .values(state="expired")
        .execution_options(synchronize_session=False)
    )


async def _move(session: AsyncSession, event: InboundMessage, person: models.Identity) -> None:
    """Continue the person's private chats, with each account, under the new name."""
    chats = await session.scalars(
        select(models.Conversation.id)
        .where(
            models.Conversation.channel == event.address.channel,
            models.Conversation.identity_id == person.id,
            models.Conversation.chat.in_(event.former_names),
            models.Conversation.thread == "",
        )
        .order_by(models.Conversation.key)
    )
    for conversation_id in chats.all():
        conversation = await lock_conversation(session, conversation_id)
        await move_conversation(session, conversation, event.text, is_person=True)
