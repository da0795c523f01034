"""What an event means while a turn waits: a decision, an answer, or a message to hold."""

from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.enqueue import enqueue
from roost_platform.db.inbox.arrival import Arrival
from roost_platform.db.locks import open_turn
from roost_platform.db.turns.children.telling import tell_held
from roost_platform.db.waits.cards import APPROVAL_BUTTON, APPROVE, DENY
from roost_platform.db.waits.deciding import Decided, Decider, decide

DECIDED_ALREADY: Final = "That was decided already: {state}."
NOT_YOURS: Final = "Somebody else has to decide this."
TAKEN: Final = {"approved": "Approved.", "denied": "Denied.", "answered": "Noted."}
HELD: Final = "I am waiting for your decision on: {preview}"


async def press(session: AsyncSession, arrival: Arrival) -> bool:
    """Take a pressed button of a card; False for any other button."""
    data = arrival.event.text
    if not data.startswith(APPROVAL_BUTTON):
        return False
    nonce, _, choice = data.removeprefix(APPROVAL_BUTTON).partition(":")
    approval = await session.scalar(select(models.Approval).where(models.Approval.nonce == nonce))
    if approval is None or approval.chat_id != arrival.conversation.id:
        arrival.conclude("ignored", "unknown_button")
        return True
    arrival.conclude("done")
    if approval.state != "pending":
        arrival.answer = DECIDED_ALREADY.format(state=approval.state)
    elif not may_decide(approval, arrival):
        arrival.answer = NOT_YOURS
    elif approval.kind == "approve" and choice in (APPROVE, DENY):
        await _decide(session, arrival, approval, "approved" if choice == APPROVE else "denied")
    elif approval.kind == "ask" and choice.isdecimal():
        options = approval.questions[0]["options"]
        if int(choice) < len(options):
            await _decide(session, arrival, approval, "answered", options[int(choice)])
    return True


async def take(session: AsyncSession, arrival: Arrival) -> bool:
    """Take a message as the answer to the open question of the chat, or hold it while a turn waits;
    False where nothing waits.
    """
    turn = await open_turn(session, arrival.conversation.id)
    if turn is None or turn.state != "waiting":
        return False
    approval = await session.scalar(
        select(models.Approval)
        .where(
            models.Approval.chat_id == arrival.conversation.id, models.Approval.state == "pending"
        )
        .order_by(models.Approval.created_at.desc())
        .limit(1)
    )
    if approval is not None and approval.kind == "ask" and may_decide(approval, arrival):
        arrival.conclude("done")
        await _decide(session, arrival, approval, "answered", arrival.event.text)
        return True
    arrival.conclude("pending")
    if approval is not None:
        await enqueue(
            session,
            arrival.conversation,
            kind="notice",
            body=HELD.format(preview=approval.preview),
            dedupe_key=f"held:{approval.id}",
            now=arrival.now,
        )
    else:
        await tell_held(session, arrival.conversation, turn, arrival.now)
    return True


def may_decide(approval: models.Approval, arrival: Arrival) -> bool:
    """Whether the sender of the event may decide."""
    person_id = arrival.row.identity_id or ""
    match approval.rule:
        case "requester":
            return not approval.requester_id or person_id == approval.requester_id
        case "another":
            return bool(person_id) and person_id != approval.requester_id
    return False  # operators decide in the console


async def _decide(
    session: AsyncSession,
    arrival: Arrival,
    approval: models.Approval,
    verdict: Decided,
    *answers: str,
) -> None:
    by = Decider(arrival.row.identity_id or "", arrival.writer, arrival.event.address.channel)
    rung = await decide(session, approval, verdict, by, arrival.now, answers=answers)
    arrival.answer = TAKEN[verdict] if rung else DECIDED_ALREADY.format(state=approval.state)
    if rung:
        arrival.released = (*arrival.released, rung)
