"""Messages with buttons of schedules: which one an event is about, and what became of it.

The first choice counts for a message: it replaces the message in place, where the channel can edit,
and is told to whoever presses a button of it later.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import String, cast, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import SCHEDULE_BUTTON
from roost_platform.db import models
from roost_platform.db.enqueue import enqueue
from roost_platform.db.inbox.arrival import Arrival
from roost_platform.db.schedules.keeping import CODE_CHARS, code_of
from roost_platform.db.waits.answering import plain_digits

OPEN_S: Final = 86_400.0  # how long words may stand for a message's buttons
OPEN_MAX: Final = 50  # messages of a chat that words may mean
SETTLED: Final = "settled:{id}"  # the key of what replaces a message
_CODED = re.compile(rf"(.+?)\s+([0-9a-f]{{{CODE_CHARS}}})")
_AT_WORK: Final = ("pending", "held", "taken")


@dataclass(frozen=True, slots=True)
class Shown:
    """A message with buttons, and the schedule that they belong to."""

    message: models.Outbox
    schedule: models.Schedule

    def choice_of(self, word: str) -> str:
        """What a word does: a button's number or its label; empty for none."""
        for number, button in enumerate(self.message.buttons, 1):
            if word in (str(number), str(button["label"]).casefold()):
                return str(button["data"]).rpartition(":")[2]
        return ""


def read_word(text: str) -> tuple[str, str]:
    """(word, code) of a message: digits of any script, without case, spaces and a last dot."""
    said = " ".join(plain_digits(text).casefold().split()).strip(" .!")
    coded = _CODED.fullmatch(said)
    word, code = coded.groups() if coded else (said, "")
    return (str(int(word)) if word.isdecimal() and len(word) <= 2 else word), code


async def quoted_message(session: AsyncSession, arrival: Arrival) -> models.Outbox | None:
    """Our message with buttons that the event is under, or replies to."""
    event = arrival.event
    refs = [
        event.message_id if event.kind == "callback" else "",
        "" if event.quote is None else event.quote.ref,
    ]
    rows = await session.scalars(
        select(models.Outbox)
        .join(models.Part, models.Part.outbox_id == models.Outbox.id)
        .where(
            models.Part.conversation_id == arrival.conversation.id,
            models.Part.message_id.in_([ref for ref in refs if ref]),
            models.Outbox.edits_id.is_(None),
        )
        .limit(1)
    )
    row = rows.first()
    return row if row is not None and row.buttons else None


async def pressed(session: AsyncSession, arrival: Arrival) -> models.Outbox | None:
    """The message whose button was pressed; None where none of ours has such a button."""
    data, here = arrival.event.text, models.Outbox.conversation_id == arrival.conversation.id
    quoted = await quoted_message(session, arrival)
    if quoted is not None:
        return quoted if any(button["data"] == data for button in quoted.buttons) else None
    # Its receipt may have been lost, so that nobody knows its id.
    return await session.scalar(
        select(models.Outbox)
        .where(here, cast(models.Outbox.buttons, String).contains(f'"{data}"', autoescape=True))
        .order_by(models.Outbox.sequence.desc())
        .limit(1)
    )


async def meant(
    session: AsyncSession, arrival: Arrival, code: str, *, by_number: bool
) -> Sequence[Shown]:
    """The messages that a word may be about: the one it replies to, else those that are open.

    code: of the schedule that the person named. by_number: the buttons' numbers were written in the
    chat, so that other messages of ours may stand below; else only the newest ones are meant.
    """
    quoted = await quoted_message(session, arrival)
    if quoted is not None:
        rows: Sequence[models.Outbox] = [quoted]
    else:
        rows = await _open(session, arrival, any_place=by_number or bool(code), coded=bool(code))
    found, schedules = [], set()
    for row in rows:
        schedule = await _schedule_of(session, row)
        if schedule is None or schedule.id in schedules:
            continue  # the newest message of a schedule is meant
        schedules.add(schedule.id)
        is_theirs = schedule.owner_id in ("", arrival.row.identity_id)
        is_open = quoted is not None or await settled(session, row) is None
        if is_theirs and is_open and (not code or code_of(schedule) == code):
            found.append(Shown(row, schedule))
    return found


async def settle(
    session: AsyncSession, arrival: Arrival, message: models.Outbox, said: str
) -> None:
    """Let the message say what was chosen, without buttons."""
    await enqueue(
        session,
        arrival.conversation,
        kind="approval",  # an edit that is nothing new to people where messages stay as they are
        body=f"{said}\n{message.text}",
        dedupe_key=SETTLED.format(id=message.id),
        now=arrival.now,
        edits_id=message.id,
    )


async def settled(session: AsyncSession, message: models.Outbox) -> str | None:
    """What was chosen under the message before; None while it is open."""
    text = await session.scalar(
        select(models.Outbox.text).where(models.Outbox.dedupe_key == SETTLED.format(id=message.id))
    )
    return None if text is None else text.partition("\n")[0].rstrip(".") + "."


async def _open(
    session: AsyncSession, arrival: Arrival, *, any_place: bool, coded: bool
) -> Sequence[models.Outbox]:
    """Messages with buttons of schedules, the newest first.

    Without a code only those that came after what the person said to the agent last.
    """
    since = arrival.now - OPEN_S
    if not coded:
        last = await session.scalar(
            select(models.Inbox.received_at)
            .where(
                models.Inbox.conversation_id == arrival.conversation.id,
                models.Inbox.kind == "message",
                models.Inbox.id != arrival.row.id,
                or_(models.Inbox.state.in_(_AT_WORK), models.Inbox.turn_id.is_not(None)),
            )
            .order_by(models.Inbox.sequence.desc())
            .limit(1)
        )
        since = max(since, last or 0.0)
    rows = await session.scalars(
        select(models.Outbox)
        .where(
            models.Outbox.conversation_id == arrival.conversation.id,
            models.Outbox.edits_id.is_(None),
            models.Outbox.created_at >= since,
        )
        .order_by(models.Outbox.sequence.desc())
        .limit(OPEN_MAX)
    )
    found = []
    for row in rows.all():
        is_ours = bool(row.buttons) and str(row.buttons[0]["data"]).startswith(SCHEDULE_BUTTON)
        if is_ours:
            found.append(row)
        elif not any_place and not row.dedupe_key.startswith("inbox:"):
            break
    return found


async def _schedule_of(session: AsyncSession, row: models.Outbox) -> models.Schedule | None:
    data = str(row.buttons[0]["data"])
    if not data.startswith(SCHEDULE_BUTTON):
        return None
    return await session.get(models.Schedule, data.removeprefix(SCHEDULE_BUTTON).partition(":")[0])
