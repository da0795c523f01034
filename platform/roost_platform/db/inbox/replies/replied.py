"""The question that a message is about because it replies to the card, or to what we said of it."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.cards.cards import CARD_KEY, REMINDER_KEY
from roost_platform.db.inbox.arrival import Arrival
from roost_platform.db.waits.answering import open_in

# Keys of what is said about a question: they begin so, and its id follows.
DETAILS_KEY: Final = "details"
PROMPT_KEY: Final = "prompt"
HELD_KEY: Final = "held"
_KEYS: Final = (CARD_KEY, REMINDER_KEY, DETAILS_KEY, PROMPT_KEY)


@dataclass(frozen=True, slots=True)
class Replied:
    """The question that a message replies to. is_over: it was decided, or this part of the form was
    answered, before.
    """

    approval: models.Approval
    is_over: bool


async def replied_to(session: AsyncSession, arrival: Arrival) -> Replied | None:
    """The question whose card, reminder, details or prompt the message replies to; None for none.

    The notice that a message is held names all that is open: a reply to it is about the only one.
    """
    quote = arrival.event.quote
    if quote is None or not quote.ref:
        return None
    key = await session.scalar(
        select(models.Outbox.dedupe_key)
        .join(models.Part, models.Part.outbox_id == models.Outbox.id)
        .where(
            models.Part.conversation_id == arrival.conversation.id,
            models.Part.message_id == quote.ref,
            models.Outbox.edits_id.is_(None),
        )
        .limit(1)
    )
    kind, _, rest = (key or "").partition(":")
    approval_id, _, rest = rest.partition(":")
    if kind == HELD_KEY:
        all_open = await open_in(session, arrival.conversation.id)
        found = all_open[0] if [one.id for one in all_open] == [approval_id] else None
    else:
        found = await session.get(models.Approval, approval_id) if kind in _KEYS else None
    if found is None:
        return None
    number = rest.rpartition(":")[2]  # of the question in a form, where the message is about one
    is_earlier = number.isdecimal() and int(number) != len(found.answers)
    return Replied(found, found.state != "pending" or is_earlier)
