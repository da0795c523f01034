"""What events about cards share: whose question it is, who may decide it, and how they are told."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.console.config import CHANNEL as CONSOLE
from roost_platform.db import models
from roost_platform.db.cards.words import plain, subject
from roost_platform.db.enqueue import enqueue
from roost_platform.db.inbox.arrival import Arrival
from roost_platform.db.locks import lock_conversation
from roost_platform.db.reply_targets import reply_target
from roost_platform.db.waits.answering import Given, may_decide
from roost_platform.db.waits.deciding import Decider

_LEFT: Final = frozenset({"sending", "sent", "ambiguous"})
WHICH: Final = "Several are open. Add the code of the one you mean, such as `{example}`:\n{lines}"


async def was_seen(session: AsyncSession, approval: models.Approval) -> bool:
    """Whether the card may have reached the person: what they wrote before it is no answer to it.

    A card that was refused, as behind a closed session window, has not.
    """
    states = await session.scalars(
        select(models.Part.state).where(models.Part.outbox_id == approval.card_id)
    )
    known = states.all()
    return not known or "sent" in known


async def was_shown(session: AsyncSession, approval: models.Approval) -> bool:
    """Whether the card has left for the person: words said before it approve nothing.

    The console shows a card as soon as it is queued.
    """
    if not approval.card_id:
        return False
    states = await session.scalars(
        select(models.Part.state).where(models.Part.outbox_id == approval.card_id)
    )
    if not _LEFT.isdisjoint(states):
        return True
    card = await session.get(models.Outbox, approval.card_id)
    return card is not None and card.channel == CONSOLE


async def locked(
    session: AsyncSession, arrival: Arrival, approval: models.Approval
) -> models.Approval:
    """The question, its own conversation locked beside the chat's."""
    if approval.conversation_id != arrival.conversation.id:
        await lock_conversation(session, approval.conversation_id)
    await session.refresh(approval)
    return approval


async def tell(session: AsyncSession, arrival: Arrival, text: str, key: str = "") -> None:
    """Answer the event in the chat, once by key."""
    is_message = arrival.row.kind == "message"
    await enqueue(
        session,
        arrival.conversation,
        kind="notice",
        body=text,
        dedupe_key=key or f"inbox:{arrival.row.id}",
        now=arrival.now,
        reply_to=await reply_target(session, arrival.row) if is_message else None,
    )


def which(approvals: Sequence[models.Approval], example: str) -> str:
    """Ask which of several open questions is meant. example: an answer that says it."""
    return WHICH.format(example=plain(example), lines=listed(approvals))


def listed(approvals: Sequence[models.Approval]) -> str:
    """The questions by their codes, a line each."""
    return "\n".join(f"`{one.code}` {subject(one)}" for one in approvals)


def follow(arrival: Arrival, approval: models.Approval, given: Given) -> None:
    """Tell who pressed the button, and ring what can go on."""
    if arrival.row.kind == "callback":
        arrival.answer = given.told
    # The message belongs to the turn that it brought on, for those who follow what became of it.
    is_own = arrival.row.identity_id == (approval.requester_id or None)
    if arrival.row.kind == "message" and approval.conversation_id == arrival.conversation.id:
        arrival.row.turn_id = approval.turn_id if is_own else None
    if given.rung:
        arrival.released = (*arrival.released, given.rung)


def by(arrival: Arrival) -> Decider:
    """Who sent the event."""
    return Decider(arrival.row.identity_id or "", arrival.writer, arrival.event.address.channel)


def may(approval: models.Approval, arrival: Arrival) -> bool:
    """Whether the sender may decide the question."""
    return may_decide(approval, arrival.row.identity_id or "", in_group=arrival.event.is_group)


def may_read(approval: models.Approval, arrival: Arrival) -> bool:
    """Whether the person may read all arguments: who asked for the call, and who may decide."""
    return may(approval, arrival) or arrival.row.identity_id == approval.requester_id
