"""The buttons of a card, and the words that stand for them where a chat shows no buttons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from roost_channels.message import CARD_BUTTON, Button
from roost_platform.db import models

# What a button does: the last part of its data. An option is its number, in a form after that of
# the question.
APPROVE: Final = "a"
DENY: Final = "d"
ALWAYS: Final = "w"
DETAILS: Final = "i"
OTHER: Final = "o"
# Whole messages that decide where a chat has no buttons.
WORDS: Final = {"approve": APPROVE, "yes": APPROVE, "deny": DENY, "no": DENY}
DAY_S: Final = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice on a card: what its button says, and what it does."""

    label: str
    does: str


def choices_of(
    approval: models.Approval, *, in_group: bool, always_s: float = 0.0
) -> tuple[Choice, ...]:
    """What people may choose on the card.

    in_group: others than the one who asked see it. always_s: how long a standing approval holds,
    where the same call was approved before, so that one helps.
    """
    if approval.kind == "approve":
        details = (Choice("Details", DETAILS),) if approval.tool else ()
        decides = approval.rule == "requester" or (approval.rule == "another" and in_group)
        if not decides:
            return details
        always = Choice(f"Always ({in_days(always_s)})", ALWAYS)
        is_offered = always_s > 0 and approval.rule == "requester"
        always_too = (always,) if is_offered else ()
        return (Choice("Approve", APPROVE), Choice("Deny", DENY), *details, *always_too)
    number = len(approval.answers)
    question = approval.questions[number]
    options = [
        Choice(option, f"{number}.{place}") for place, option in enumerate(question["options"])
    ]
    if options and question["free_text"]:
        options.append(Choice("Other…", f"{OTHER}{number}"))
    return tuple(options)


def in_days(seconds: float) -> str:
    """A time in days, as people read it."""
    days = round(seconds / DAY_S, 2)
    return f"{days:g} day{'' if days == 1 else 's'}"


def buttons_of(
    approval: models.Approval, choices: tuple[Choice, ...], code: str = ""
) -> list[Button]:
    """The choices as buttons with 32 bytes of data at most, and the words that stand for them.

    code: to be written behind the word, where several questions are open.
    """
    suffix = f" {code}" if code else ""
    is_numbered = not any(choice.label.strip().isdecimal() for choice in choices)
    buttons, number = [], 0
    for choice in choices:
        word = ""
        if not choice.does.startswith(OTHER):  # any other words are an answer as they are
            number += 1
            word = f"{number if is_numbered else choice.label.strip()}{suffix}"
        buttons.append(Button(choice.label, f"{CARD_BUTTON}{approval.nonce}:{choice.does}", word))
    return buttons


def does_of(buttons: Sequence[Mapping[str, Any]], number: int) -> str:
    """What the choice with this number does, by the stored buttons of a card; empty for none."""
    does = [str(button["data"]).rpartition(":")[2] for button in buttons]
    numbered = [one for one in does if not one.startswith(OTHER)]
    return numbered[number - 1] if 1 <= number <= len(numbered) else ""
