"""Decisions and answers in words: exact words, numbers of choices, and codes of questions."""

import re
from collections.abc import Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.approval_rules import ApprovalRules
from roost_platform.db import models
from roost_platform.db.cards.buttons import DETAILS, WORDS, choices_of, does_of
from roost_platform.db.cards.words import details_text
from roost_platform.db.inbox.arrival import Arrival
from roost_platform.db.inbox.replies.card_events import (
    by,
    follow,
    locked,
    tell,
    was_seen,
    was_shown,
    which,
)
from roost_platform.db.inbox.replies.replied import Replied
from roost_platform.db.waits.answering import (
    WORDS_CHARS_MAX,
    choose,
    option_of,
    plain_digits,
)

# A choice alone, or with a code behind it or before it.
_CHOICE = re.compile(r"(?P<word>[A-Za-z]+|\d{1,2})[.!]?(?:\s+(?P<code>[A-Za-z]{3})[.!]?)?")
_CODE_FIRST = re.compile(r"(?P<code>[A-Za-z]{3})[:,.]?\s+(?P<word>[A-Za-z]+|\d{1,2})[.!]?")
_CODED = re.compile(r"([A-Z]{3})[:,.]?\s+(.+)", re.DOTALL)
_CODE_LAST = re.compile(r"(.+?)[.!]?\s+([A-Za-z]{3})[.!]?", re.DOTALL)
_SURE: Final = ("approve", "deny")  # words that answer no question


async def decided(
    session: AsyncSession,
    arrival: Arrival,
    mine: Sequence[models.Approval],
    replied: Replied | None,
    rules: ApprovalRules,
) -> bool:
    """Take exact words, or the number of a choice, as a decision: where buttons may be missing, or
    in a reply to the card itself or to what was said of it. Somebody else's words, passed on,
    decide nothing. In a reply to any other message only the code of a card says which is meant.
    """
    approvals = [one for one in mine if one.kind == "approve"]
    if not approvals or arrival.event.attachments or arrival.event.forwarded_from:
        return False
    card = next((one for one in approvals if _is_open(replied, one)), None)
    at = (arrival.conversation.channel, arrival.conversation.account)
    if card is None and at not in rules.by_words:
        return False
    seen = [card] if card else [one for one in approvals if await was_shown(session, one)]
    does, word, code = await _chosen(session, arrival, seen)
    if not does or (card is None and not code and _is_reply(arrival)):
        return False
    arrival.conclude("done")
    others: list[models.Approval] = []
    if card is None and not code and word not in _SURE:
        others = [one for one in mine if one.kind != "approve" and await was_seen(session, one)]
    if len(does) > 1 or others:
        named = [one for one, _ in does]
        await tell(session, arrival, which([*named, *others], f"{word} {named[0].code}"))
        return True
    approval, choice = await locked(session, arrival, does[0][0]), does[0][1]
    if choice == DETAILS:
        await tell(session, arrival, details_text(approval))
        return True
    given = await choose(session, approval, choice, by(arrival), arrival.now, rules)
    follow(arrival, approval, given)
    await tell(session, arrival, given.told)
    return True


async def _chosen(
    session: AsyncSession, arrival: Arrival, approvals: Sequence[models.Approval]
) -> tuple[list[tuple[models.Approval, str]], str, str]:
    """(the approvals that the words decide, each with what they do, the word, the code)."""
    said = plain_digits(arrival.event.text)
    for form in (_CHOICE, _CODE_FIRST):
        match = form.fullmatch(said)
        if match is None:
            continue
        word, code = match["word"].casefold(), (match["code"] or "").upper()
        does = [
            (one, choice)
            for one in approvals
            if (not code or one.code == code)
            and (choice := await _choice(session, one, word, arrival))
        ]
        if does:
            return does, word, code
    return [], "", ""


async def _choice(
    session: AsyncSession, approval: models.Approval, word: str, arrival: Arrival
) -> str:
    """What a word or the number of a choice does, as the card shows them; empty for none."""
    if not word.isdecimal():
        return WORDS.get(word, "")
    card = await session.get(models.Outbox, approval.card_id) if approval.card_id else None
    if card is not None:
        return does_of(card.buttons, int(word))
    choices = choices_of(approval, in_group=arrival.event.is_group)
    return choices[int(word) - 1].does if 1 <= int(word) <= len(choices) else ""


def _is_open(replied: Replied | None, approval: models.Approval) -> bool:
    """Whether the message replies to this approval, which is open."""
    return replied is not None and not replied.is_over and replied.approval.id == approval.id


def _is_reply(arrival: Arrival) -> bool:
    """Whether the message replies to another one, which then says what it is about."""
    return arrival.event.quote is not None and bool(arrival.event.quote.ref)


def by_code(asked: Sequence[models.Approval], text: str) -> tuple[Sequence[models.Approval], str]:
    """The question that a code names, and the words beside it; else all of them and all words.

    Behind the words a code counts only where they are an option: others may end in such a word.
    """
    first, said = _CODED.fullmatch(text.strip()), plain_digits(text)
    last = _CODE_LAST.fullmatch(said) if len(said) <= WORDS_CHARS_MAX else None
    for one in asked:
        if first is not None and one.code == first.group(1):
            return [one], first.group(2)
        if last is not None and one.code == last.group(2).upper():
            options = one.questions[len(one.answers)]["options"]
            if option_of(options, last.group(1)) is not None:
                return [one], last.group(1)
    return asked, text
