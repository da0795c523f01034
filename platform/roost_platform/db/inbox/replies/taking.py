"""What an event means while a question is open or a turn waits: a decision, an answer, or a message
that is held.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import CARD_BUTTON, TELLING_KINDS, InboundMessage
from roost_platform.approval_rules import ApprovalRules
from roost_platform.commands import Command
from roost_platform.db import models
from roost_platform.db.cards.buttons import APPROVE, DENY, DETAILS, OTHER
from roost_platform.db.cards.cards import card_target
from roost_platform.db.cards.words import details_text, subject
from roost_platform.db.enqueue import enqueue
from roost_platform.db.inbox.arrival import Arrival
from roost_platform.db.inbox.replies.card_events import (
    by,
    follow,
    listed,
    locked,
    may,
    may_read,
    tell,
    was_seen,
    which,
)
from roost_platform.db.inbox.replies.replied import (
    DETAILS_KEY,
    HELD_KEY,
    PROMPT_KEY,
    Replied,
    replied_to,
)
from roost_platform.db.inbox.replies.wording import by_code, decided
from roost_platform.db.locks import open_turn
from roost_platform.db.turns.transcript import attachment_line
from roost_platform.db.waits.answering import (
    ANSWERED_BEFORE,
    answer,
    choose,
    open_in,
    option_of,
    plain_digits,
    recorded,
)
from roost_platform.db.waits.approvals import CODE_LENGTH, CODE_LETTERS
from roost_platform.db.waits.described import joined, waits_of

NOT_YOURS: Final = "Somebody else has to decide this."
NOTHING_OPEN: Final = "Nothing waits for your decision."
NO_SUCH_CODE: Final = "Nothing here has the code `{code}`. These wait for your decision:\n{lines}"
WHICH_MESSAGE: Final = (
    "Several questions are open. Reply to the one you mean, or write its code first:\n{lines}"
)
HELD: Final = "I am waiting for {waits}. I read your message after that; /stop ends the wait."
WRITE: Final = "Write your answer: {question}"


async def press(session: AsyncSession, arrival: Arrival, rules: ApprovalRules) -> bool:
    """Take a pressed button of a card; False for any other button."""
    data = arrival.event.text
    if not data.startswith(CARD_BUTTON):
        return False
    nonce, _, does = data.removeprefix(CARD_BUTTON).partition(":")
    found = await session.scalar(select(models.Approval).where(models.Approval.nonce == nonce))
    is_here = found is not None and (
        found.chat_id == arrival.conversation.id
        or (bool(found.requester_id) and found.requester_id == arrival.row.identity_id)
    )
    if found is None or not is_here:  # made up, or copied out of another chat
        arrival.conclude("ignored", "unknown_button")
        return True
    approval = await locked(session, arrival, found)
    arrival.conclude("done")
    arrival.answer = ""
    if approval.state != "pending":
        arrival.answer = await recorded(session, approval)
    elif does == DETAILS and may_read(approval, arrival):
        await tell(session, arrival, details_text(approval), f"{DETAILS_KEY}:{approval.id}")
    elif not may(approval, arrival):
        arrival.answer = NOT_YOURS
    elif does.startswith(OTHER):
        await _ask_in_words(session, arrival, approval, does)
    else:
        given = await choose(session, approval, does, by(arrival), arrival.now, rules)
        follow(arrival, approval, given)
    return True


async def take(session: AsyncSession, arrival: Arrival, rules: ApprovalRules) -> bool:
    """Take a message as a decision or an answer, or hold it while the chat's turn waits.

    False for a message to the agent, which may be told that it is read later.
    """
    questions = await open_in(session, arrival.conversation.id)
    turn = await open_turn(session, arrival.conversation.id)
    is_parked = turn is not None and turn.state == "waiting"
    if not questions and not is_parked:
        return False
    mine = [one for one in questions if may(one, arrival)]
    replied = await replied_to(session, arrival) if mine else None
    if await decided(session, arrival, mine, replied, rules) or await _answered(
        session, arrival, mine, replied, rules
    ):
        return True
    waits_here = [one for one in questions if turn is not None and one.turn_id == turn.id]
    if turn is None or not (is_parked or waits_here):
        return False  # an agent in the background asks: this chat goes on meanwhile
    await _tell_held(session, arrival, turn, waits_here)
    if is_parked:
        arrival.conclude("pending")
    return is_parked


async def is_option(session: AsyncSession, arrival: Arrival) -> bool:
    """Whether the words are an option of an open question that the sender may answer."""
    said = arrival.event.text.strip()
    questions = await open_in(session, arrival.conversation.id)
    return any(
        option_of(one.questions[len(one.answers)]["options"], said) is not None
        for one in questions
        if one.kind != "approve" and may(one, arrival)
    )


async def decide_by_command(
    session: AsyncSession, arrival: Arrival, command: Command, rules: ApprovalRules
) -> None:
    """Carry out /approve and /deny: with a code or as a reply to the card where several are open, a
    reason after it.
    """
    arrival.conclude("done")
    questions = await open_in(session, arrival.conversation.id)
    approvals = [one for one in questions if one.kind == "approve"]
    mine = [one for one in approvals if may(one, arrival)]
    first, _, rest = command.argument.partition(" ")
    first = plain_digits(first).rstrip(".!:,")
    coded = [one for one in mine if one.code and one.code == first.upper()]
    reason = rest.strip() if coded else command.argument
    replied = None if coded else await replied_to(session, arrival)
    meant = [] if replied is None else [one for one in mine if one.id == replied.approval.id]
    chosen = coded or meant or mine
    # A code or a reply names one card: a late one, or one of somebody else's, decides no other one.
    other = None if coded else await _of_code(session, arrival, first)
    if other is None and replied is not None and not meant:
        other = replied.approval
    if other is not None:
        told = await _told_of(session, other)
    elif not chosen:
        told = NOT_YOURS if approvals else NOTHING_OPEN
    elif not coded and not meant and _is_written_as_code(first):
        told = NO_SUCH_CODE.format(code=first, lines=listed(mine))
    elif len(chosen) > 1:
        told = which(mine, f"/{command.name} {mine[0].code}")
    else:
        approval = await locked(session, arrival, chosen[0])
        does = APPROVE if command.name == "approve" else DENY
        given = await choose(
            *(session, approval, does, by(arrival), arrival.now, rules), reason=reason
        )
        follow(arrival, approval, given)
        told = given.told
    arrival.answer = None
    await tell(session, arrival, told)


def _is_written_as_code(word: str) -> bool:
    """Whether the word looks as codes do on cards: a mistyped one decides no other card."""
    return len(word) == CODE_LENGTH and set(word) <= set(CODE_LETTERS)


async def _of_code(session: AsyncSession, arrival: Arrival, code: str) -> models.Approval | None:
    """The newest question of this chat with that code, whatever became of it."""
    return await session.scalar(
        select(models.Approval)
        .where(
            models.Approval.chat_id == arrival.conversation.id,
            models.Approval.code == code.upper(),
            models.Approval.code != "",
        )
        .order_by(models.Approval.created_at.desc(), models.Approval.id.desc())
        .limit(1)
    )


async def _told_of(session: AsyncSession, other: models.Approval) -> str:
    """Why a command does not decide the question that its code names."""
    if other.state != "pending":
        return await recorded(session, other)
    return NOT_YOURS if other.kind == "approve" else WRITE.format(question=subject(other))


async def _answered(
    session: AsyncSession,
    arrival: Arrival,
    mine: Sequence[models.Approval],
    replied: Replied | None,
    rules: ApprovalRules,
) -> bool:
    """Take a message as the answer to an open question that the person has seen."""
    has_words = bool(arrival.event.text.strip())
    text = arrival.event.text if has_words else _told_beside(arrival.event)
    open_questions = [one for one in mine if one.kind != "approve"]
    seen = [one for one in open_questions if await was_seen(session, one)]
    asked: Sequence[models.Approval] = seen
    if not asked or (arrival.event.attachments and not text):
        return False
    meant = None if replied is None or replied.is_over else replied.approval.id
    if any(one.id == meant for one in asked):
        asked = [one for one in asked if one.id == meant]
    else:
        asked, words = by_code(asked, text)
        if replied is not None and words == text:
            return False  # it is about another card, or one that is over
        text = words
    if len(asked) > 1:
        arrival.conclude("done", "no_answer")
        await tell(session, arrival, WHICH_MESSAGE.format(lines=listed(asked)))
        return True
    approval = await locked(session, arrival, asked[0])
    # What came along with the words is for the agent, who reads it after the answer.
    arrival.conclude("pending" if has_words and arrival.event.attachments else "done")
    if approval.state != "pending":
        await tell(session, arrival, ANSWERED_BEFORE)
        return True
    given = await answer(session, approval, text, by(arrival), arrival.now, rules)
    follow(arrival, approval, given)
    if given.again:
        if arrival.row.state == "done":
            arrival.conclude("done", "no_answer")
        await tell(session, arrival, given.told)
    return True


def _told_beside(event: InboundMessage) -> str:
    """What a message tells that has no words but a place, a contact or a form; empty for others."""
    if any(one.kind not in TELLING_KINDS for one in event.attachments):
        return ""
    return "\n".join(attachment_line(asdict(one)) for one in event.attachments)


async def _ask_in_words(
    session: AsyncSession, arrival: Arrival, approval: models.Approval, does: str
) -> None:
    """Ask for words of the person's own, where there are options beside."""
    number = len(approval.answers)
    if does != f"{OTHER}{number}" or not approval.questions:
        arrival.answer = ANSWERED_BEFORE
        return
    await enqueue(
        session,
        arrival.conversation,
        kind="prompt",
        body=WRITE.format(question=subject(approval)),
        dedupe_key=f"{PROMPT_KEY}:{approval.id}:{number}",
        now=arrival.now,
    )


async def _tell_held(
    session: AsyncSession,
    arrival: Arrival,
    turn: models.Turn,
    questions: Sequence[models.Approval],
) -> None:
    """Tell once for each wait what is waited for."""
    person = None
    if arrival.row.identity_id:
        person = await session.get(models.Identity, arrival.row.identity_id)
    waits = await waits_of(session, turn, questions, person, arrival.now)
    newest = max((one.id for one in questions), default="")
    card = None
    if questions and questions[-1].card_id:
        card = await session.get(models.Outbox, questions[-1].card_id)
    await enqueue(
        session,
        arrival.conversation,
        kind="notice",
        body=HELD.format(waits=joined(waits) or "something"),
        dedupe_key=f"{HELD_KEY}:{newest or f'{turn.id}:{turn.waiting_since}'}",
        now=arrival.now,
        reply_to=None if card is None else await card_target(session, card),
    )
