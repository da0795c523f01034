"""The card of a question: its text and its buttons, and what stands there once it is decided."""

from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import Button
from roost_platform.db import models
from roost_platform.db.enqueue import enqueue

# How the data of a card's buttons begins; the nonce and the choice follow. 28 bytes in all.
APPROVAL_BUTTON: Final = "ap:"
APPROVE: Final = "a"
DENY: Final = "d"
DETAILS: Final = "i"
REMINDER: Final = "I am still waiting for your decision on: {preview}"


async def send_card(
    session: AsyncSession,
    chat: models.Conversation,
    turn: models.Turn,
    approval: models.Approval,
    now: float,
) -> str:
    """Queue the card of a new question; returns its outbox id."""
    return await enqueue(
        session,
        chat,
        kind="approval",
        body=card_text(approval),
        dedupe_key=f"approval:{approval.id}",
        now=now,
        turn=turn if turn.conversation_id == chat.id else None,
        reply_to=turn.reply_to if turn.conversation_id == chat.id else None,
        buttons=card_buttons(approval),
    )


async def send_reminder(session: AsyncSession, approval: models.Approval, now: float) -> None:
    """Queue the one reminder of an open question, as a reply to its card."""
    chat = await session.get_one(models.Conversation, approval.chat_id)
    await enqueue(
        session,
        chat,
        kind="notice",
        body=REMINDER.format(preview=approval.preview),
        dedupe_key=f"reminder:{approval.id}",
        now=now,
    )


def card_text(approval: models.Approval) -> str:
    """What the card of an open question says."""
    if approval.kind == "approve":
        return f"**May I?** {approval.preview}"
    return approval.preview


def card_buttons(approval: models.Approval) -> list[Button]:
    """The buttons of an open question."""

    def button(label: str, choice: str) -> Button:
        return Button(label, f"{APPROVAL_BUTTON}{approval.nonce}:{choice}")

    if approval.kind == "approve":
        return [button("Approve", APPROVE), button("Deny", DENY), button("Details", DETAILS)]
    (question, *more) = approval.questions
    if more:
        return []
    return [button(option, str(number)) for number, option in enumerate(question["options"])]
