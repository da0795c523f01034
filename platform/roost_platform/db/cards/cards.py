"""The rows of cards: queued with the question, replaced in place once it is over."""

from sqlalchemy import bindparam, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.console.config import CHANNEL as CONSOLE
from roost_channels.message import choices_in_words
from roost_platform.approval_rules import ApprovalRules
from roost_platform.db import models
from roost_platform.db.cards.buttons import buttons_of, choices_of
from roost_platform.db.cards.words import (
    ANSWER_MAX,
    DECISIONS,
    OUTCOMES,
    closed_text,
    moment,
    named,
    open_text,
    plain,
    subject,
    zone_of,
)
from roost_platform.db.enqueue import enqueue

# Keys of messages about a question: they begin so, and its id follows.
CARD_KEY = "approval"
REMINDER_KEY = "reminder"
REMINDER = "I am still waiting for {wait} {subject}, until {until}."
_BEGUN = exists().where(
    models.Part.outbox_id == models.Outbox.id,
    models.Part.state.in_(("sending", "sent", "ambiguous")),
)
# Every turn that is stopped asks for these, and nearly always finds none.
_PENDING = (
    select(models.Approval)
    .where(models.Approval.turn_id == bindparam("id"), models.Approval.state == "pending")
    .execution_options(populate_existing=True)
)


async def send_card(
    session: AsyncSession,
    chat: models.Conversation,
    turn: models.Turn,
    approval: models.Approval,
    now: float,
    rules: ApprovalRules,
) -> str:
    """Queue the card of an open question in a chat; returns its outbox id."""
    in_this_chat = turn.conversation_id == chat.id
    person = await _requester(session, approval)
    always_s = rules.grant_s if await _approved_before(session, approval) else 0.0
    choices = choices_of(approval, in_group=chat.is_group, always_s=always_s)
    code = ""
    if (chat.channel, chat.account) in rules.by_words and await _others_open(session, approval):
        code = approval.code
    buttons = buttons_of(approval, choices, code)
    # Elsewhere the buttons are there nearly always, and the adapter knows when they are not.
    words = choices_in_words(buttons) if chat.channel == CONSOLE else ""
    parent = "" if approval.conversation_id == approval.chat_id else chat.agent
    until = moment(approval.expires_at, now, zone_of(person))
    return await enqueue(
        session,
        chat,
        kind="approval",
        body=open_text(approval, parent, until, by_words=words),
        dedupe_key=f"{CARD_KEY}:{approval.id}:{chat.id}:{len(approval.answers)}",
        now=now,
        turn=turn if in_this_chat else None,
        reply_to=turn.reply_to if in_this_chat and chat.is_group else None,
        buttons=buttons,
    )


async def close_card(
    session: AsyncSession, approval: models.Approval, now: float, call_state: str = ""
) -> None:
    """Let the card say what became of the question, without buttons.

    call_state: how the call ended that was approved. Where the channel can't edit, people are told
    in a message of its own what they would not see otherwise: an end that nobody in the chat made.
    """
    card = await session.get(models.Outbox, approval.card_id) if approval.card_id else None
    if card is None:
        return
    chat = await session.get_one(models.Conversation, card.conversation_id)
    zone = zone_of(await _requester(session, approval))
    outcome = OUTCOMES.get(call_state, "")
    made_here = approval.decided_via == chat.channel or approval.state in ("cancelled", "stale")
    await enqueue(
        session,
        chat,
        kind="approval" if made_here or outcome else "notice",
        body=closed_text(approval, zone, outcome),
        dedupe_key=f"card:{card.id}:{approval.state}{':' + outcome if outcome else ''}",
        now=now,
        edits_id=card.id,
    )


async def tell_outcome(
    session: AsyncSession, turn_id: str, step: int, call_id: str, call_state: str, now: float
) -> None:
    """Let the card of an approved call say how its run ended."""
    approval = await session.scalar(
        select(models.Approval)
        .where(
            models.Approval.turn_id == turn_id,
            models.Approval.step == step,
            models.Approval.call_id == call_id,
            models.Approval.state == "approved",
        )
        .order_by(models.Approval.round.desc())
        .limit(1)
    )
    if approval is not None:
        await close_card(session, approval, now, call_state)


async def close_question(
    session: AsyncSession, approval: models.Approval, said: str, now: float
) -> None:
    """Let the card of a form's question say what was answered; the next one has its own card."""
    card = await session.get(models.Outbox, approval.card_id) if approval.card_id else None
    if card is None:
        return
    await enqueue(
        session,
        await session.get_one(models.Conversation, card.conversation_id),
        kind="approval",
        body=f"{plain(said)[:ANSWER_MAX]}\n{subject(approval)}",
        dedupe_key=f"card:{card.id}:answered",
        now=now,
        edits_id=card.id,
    )


async def cancel_card(session: AsyncSession, approval: models.Approval, now: float) -> None:
    """Close the card of a cancelled question, which may not have left yet."""
    await session.execute(
        update(models.Outbox)
        .where(models.Outbox.id == approval.card_id, models.Outbox.state == "pending", ~_BEGUN)
        .values(state="cancelled", finished_at=now)
        .execution_options(synchronize_session=False)
    )
    await close_card(session, approval, now)


async def cancel_questions(session: AsyncSession, turn_id: str, now: float) -> None:
    """Cancel what people were asked for the turn and have not decided."""
    pending = await session.scalars(_PENDING, {"id": turn_id})
    for approval in pending.all():
        approval.state, approval.decided_at, approval.decided_via = "cancelled", now, "turn"
        await session.flush()
        await cancel_card(session, approval, now)


async def send_reminder(session: AsyncSession, approval: models.Approval, now: float) -> None:
    """Queue the one reminder of an open question."""
    card = await session.get(models.Outbox, approval.card_id) if approval.card_id else None
    if card is None:
        return
    chat = await session.get_one(models.Conversation, card.conversation_id)
    until = moment(approval.expires_at, now, zone_of(await _requester(session, approval)))
    wait = DECISIONS[approval.rule] if approval.kind == "approve" else "your answer to"
    await enqueue(
        session,
        chat,
        kind="notice",
        body=REMINDER.format(wait=wait, subject=named(approval), until=until),
        dedupe_key=f"{REMINDER_KEY}:{approval.id}",
        now=now,
        reply_to=await card_target(session, card),
    )


async def card_target(session: AsyncSession, card: models.Outbox) -> dict[str, object] | None:
    """A reply to the card, as stored; None while it has not arrived."""
    message_id = await session.scalar(
        select(models.Part.message_id)
        .where(models.Part.outbox_id == card.id, models.Part.message_id.is_not(None))
        .order_by(models.Part.position.desc())
        .limit(1)
    )
    if message_id is None:
        return None
    return {"message_id": message_id, "is_latest": False}


async def _requester(session: AsyncSession, approval: models.Approval) -> models.Identity | None:
    if not approval.requester_id:
        return None
    return await session.get(models.Identity, approval.requester_id)


async def _others_open(session: AsyncSession, approval: models.Approval) -> bool:
    count = await session.scalar(
        select(func.count())
        .select_from(models.Approval)
        .where(
            models.Approval.chat_id == approval.chat_id,
            models.Approval.state == "pending",
            models.Approval.id != approval.id,
        )
    )
    return bool(count)


async def _approved_before(session: AsyncSession, approval: models.Approval) -> bool:
    """Whether the same person approved the same call before."""
    if approval.kind != "approve" or not approval.tool or not approval.requester_id:
        return False
    found = await session.scalar(
        select(models.Approval.id)
        .where(
            models.Approval.chat_id == approval.chat_id,
            models.Approval.agent == approval.agent,
            models.Approval.tool == approval.tool,
            models.Approval.tool_hash == approval.tool_hash,
            models.Approval.args_hash == approval.args_hash,
            models.Approval.decided_by == approval.requester_id,
            models.Approval.state == "approved",
            models.Approval.id != approval.id,
        )
        .limit(1)
    )
    return found is not None


async def is_decided_card(session: AsyncSession, entry_id: str) -> bool:
    """Whether the message is the card of a question that is over."""
    state = await session.scalar(
        select(models.Approval.state).where(models.Approval.card_id == entry_id)
    )
    return state is not None and state != "pending"
