"""What a person's tap, word or message does to an open question."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.approval_rules import ApprovalRules
from roost_platform.db import models
from roost_platform.db.base.text import clean
from roost_platform.db.cards.buttons import ALWAYS, APPROVE, DENY, in_days
from roost_platform.db.cards.cards import close_question, send_card
from roost_platform.db.cards.words import verdict_line, zone_of
from roost_platform.db.waits.deciding import Decided, Decider, decide
from roost_platform.db.waits.grants import SCHEDULE, can_be_standing, give_grant
from roost_platform.errors import NotAllowed

APPROVED: Final = "Approved."
DENIED: Final = "Denied."
NOTED: Final = "Noted."
ANSWERED_BEFORE: Final = "That was answered already."
UNKNOWN: Final = "This button does nothing any more."
CHOOSE: Final = "Please choose one of: {options}."
NEEDS_WORDS: Final = "I need an answer in words: {question}"
COUNT: Final = "Give one answer for each open question: there are {count}."
STANDING: Final = "Approved, and the same call for {days}."
STANDING_OF_SCHEDULE: Final = "Approved, and the same call of this schedule for {days}."
WORDS_CHARS_MAX: Final = 500  # longer texts are no option, choice or code


@dataclass(frozen=True, slots=True)
class Given:
    """What somebody's choice or words led to.

    told: what they are told. again: the answer does not count, and they are told why.
    rung: the conversation that can go on, if any.
    """

    told: str
    rung: str | None = None
    again: bool = False


def may_decide(approval: models.Approval, person_id: str, *, in_group: bool) -> bool:
    """Whether the person may decide in the chat. Of operators' approvals nobody may there."""
    match approval.rule:
        case "requester":
            if not approval.requester_id:  # nobody is known: in a group that would mean anybody
                return not in_group
            return person_id == approval.requester_id
        case "another":
            return bool(person_id and approval.requester_id) and (
                person_id != approval.requester_id
            )
    return False


async def open_in(session: AsyncSession, chat_id: str) -> Sequence[models.Approval]:
    """The open questions that are shown in a chat, oldest first."""
    rows = await session.scalars(
        select(models.Approval)
        .where(models.Approval.chat_id == chat_id, models.Approval.state == "pending")
        .order_by(models.Approval.created_at, models.Approval.id)
    )
    return rows.all()


async def recorded(session: AsyncSession, approval: models.Approval) -> str:
    """The verdict that counts, for somebody who comes too late."""
    person = None
    if approval.requester_id:
        person = await session.get(models.Identity, approval.requester_id)
    return verdict_line(approval, zone_of(person)).rstrip(".") + "."


async def choose(
    session: AsyncSession,
    approval: models.Approval,
    does: str,
    by: Decider,
    now: float,
    rules: ApprovalRules,
    *,
    reason: str = "",
) -> Given:
    """Do what a button says, or a word for it. Who may is the caller's to check."""
    if approval.kind == "approve":
        return await _decide(session, approval, does, by, now, rules, reason)
    number, _, place = does.partition(".")
    if not (number.isdecimal() and place.isdecimal()):
        return Given(UNKNOWN)
    if int(number) != len(approval.answers):
        return Given(ANSWERED_BEFORE)
    options = approval.questions[int(number)]["options"]
    if int(place) >= len(options):
        return Given(UNKNOWN)
    return await _take(session, approval, options[int(place)], by, now, rules)


async def _decide(
    session: AsyncSession,
    approval: models.Approval,
    does: str,
    by: Decider,
    now: float,
    rules: ApprovalRules,
    reason: str,
) -> Given:
    if does not in (APPROVE, DENY, ALWAYS):
        return Given(UNKNOWN)
    verdict: Decided = "denied" if does == DENY else "approved"
    was_pending = approval.state == "pending"
    rung = await decide(session, approval, verdict, by, now, reason=reason)
    if not was_pending or approval.state != verdict:
        return Given(await recorded(session, approval), rung)
    if does == ALWAYS and can_be_standing(approval):
        grant = await give_grant(session, approval, now, rules.grant_s)
        words = STANDING_OF_SCHEDULE if grant.subject.startswith(SCHEDULE) else STANDING
        return Given(words.format(days=in_days(rules.grant_s)), rung)
    return Given(DENIED if does == DENY else APPROVED, rung)


async def answer(
    session: AsyncSession,
    approval: models.Approval,
    text: str,
    by: Decider,
    now: float,
    rules: ApprovalRules,
) -> Given:
    """Take a message as the answer to the open question, or say what is wrong with it."""
    question = approval.questions[len(approval.answers)]
    said = clean(text).strip()
    if not said:
        return Given(NEEDS_WORDS.format(question=question["text"]), again=True)
    option = option_of(question["options"], said)
    if option is None and not question["free_text"]:
        return Given(CHOOSE.format(options=", ".join(question["options"])), again=True)
    return await _take(session, approval, said if option is None else option, by, now, rules)


def answers_of(approval: models.Approval, texts: Sequence[str]) -> list[str]:
    """All answers of a question or form, with texts for those that are still open, in order.

    Raises NotAllowed for texts that answer other questions than these, or not as they ask.
    """
    still_open = approval.questions[len(approval.answers) :]
    if len(texts) != len(still_open):
        raise NotAllowed(COUNT.format(count=len(still_open)))
    answers = list(approval.answers)
    for question, text in zip(still_open, texts, strict=True):
        said = clean(text).strip()
        option = option_of(question["options"], said)
        if not said:
            raise NotAllowed(NEEDS_WORDS.format(question=question["text"]))
        if option is None and not question["free_text"]:
            raise NotAllowed(CHOOSE.format(options=", ".join(question["options"])))
        answers.append(said if option is None else option)
    return answers


def option_of(options: Sequence[str], said: str) -> str | None:
    """The option that the words mean: the same words, or its number where none is a number."""
    said = plain_digits(said)
    for option in options:
        if plain_digits(option).casefold() == said.casefold():
            return option
    said = said.rstrip(".!")
    if said.isdecimal() and len(said) <= 2 and not any(one.strip().isdecimal() for one in options):
        number = int(said)
        if 1 <= number <= len(options):
            return options[number - 1]
    return None


def plain_digits(text: str) -> str:
    """The text without spaces around it, wide letters and digits in their plain form.

    A text beyond WORDS_CHARS_MAX stays as it is: its combining characters would cost their square.
    """
    said = text.strip()
    return unicodedata.normalize("NFKC", said).strip() if len(said) <= WORDS_CHARS_MAX else said


async def _take(
    session: AsyncSession,
    approval: models.Approval,
    said: str,
    by: Decider,
    now: float,
    rules: ApprovalRules,
) -> Given:
    """Keep an answer; the next question of a form is asked, or the form is complete."""
    answers = [*approval.answers, said]
    if len(answers) == len(approval.questions):
        rung = await decide(session, approval, "answered", by, now, answers=answers)
        was_late = approval.state != "answered"
        return Given(await recorded(session, approval) if was_late else NOTED, rung, was_late)
    await close_question(session, approval, said, now)
    approval.answers = answers
    turn = await session.get_one(models.Turn, approval.turn_id)
    chat = await session.get_one(models.Conversation, approval.chat_id)
    approval.card_id = await send_card(session, chat, turn, approval, now, rules)
    return Given(NOTED)
