"""A card that could not be delivered: the person is asked in another chat, or nobody is reached."""

from collections.abc import Sequence

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.console.config import CHANNEL as CONSOLE
from roost_platform.approval_rules import ApprovalRules
from roost_platform.db import models
from roost_platform.db.cards.cards import CARD_KEY, send_card
from roost_platform.db.locks import lock_conversation
from roost_platform.db.waits.deciding import DELIVERY, decide

CHATS_MAX = 20  # of one person, in which a card is tried


async def lock_card(session: AsyncSession, entry_id: str) -> None:
    """Lock the conversation behind a card before its message is locked; nothing for other messages.

    A failure of the message then decides about the question in the same transaction.
    """
    conversation_id = await session.scalar(
        select(models.Approval.conversation_id).where(
            models.Approval.card_id == entry_id, models.Approval.state == "pending"
        )
    )
    if conversation_id is not None:
        await lock_conversation(session, conversation_id)


async def card_failed(
    session: AsyncSession, entry: models.Outbox, rules: ApprovalRules, now: float
) -> None:
    """Ask in another chat of the person; where there is none, the call is told that nobody could be
    reached. What operators or others may decide stays open in the console.
    """
    if entry.kind != "approval" or entry.state != "failed" or entry.edits_id is not None:
        return
    approval = await session.scalar(
        select(models.Approval)
        .where(models.Approval.card_id == entry.id, models.Approval.state == "pending")
        .execution_options(populate_existing=True)
    )
    if approval is None or approval.rule != "requester":
        return
    turn = await session.get_one(models.Turn, approval.turn_id)
    other = await _other_chat(session, approval)
    if other is None:
        await decide(session, approval, "unreachable", DELIVERY, now)
        return
    approval.chat_id = other.id
    await session.flush()
    approval.card_id = await send_card(session, other, turn, approval, now, rules)


async def other_chats(
    session: AsyncSession, person_id: str, chat_id: str
) -> Sequence[models.Conversation]:
    """The person's private chats but this one, that first in which they wrote last."""
    if not person_id:
        return ()
    chats = await session.scalars(
        select(models.Conversation)
        .where(
            models.Conversation.identity_id == person_id,
            models.Conversation.is_group.is_(False),
            models.Conversation.kind == "chat",
            models.Conversation.channel != CONSOLE,
            models.Conversation.id != chat_id,
        )
        .order_by(models.Conversation.last_inbound_at.desc().nulls_last())
        .limit(CHATS_MAX)
    )
    return chats.all()


async def _other_chat(
    session: AsyncSession, approval: models.Approval
) -> models.Conversation | None:
    """The private chat in which the person wrote last, of those where the card has not failed."""
    chats = await other_chats(session, approval.requester_id, approval.conversation_id)
    tried = await session.scalars(
        select(models.Outbox.conversation_id).where(
            or_(
                models.Outbox.id == approval.card_id,
                models.Outbox.dedupe_key.like(f"{CARD_KEY}:{approval.id}:%"),
            )
        )
    )
    gone = set(tried.all())
    return next((chat for chat in chats if chat.id not in gone), None)
