"""Buttons of schedules and reminders, and the same in words where a chat has no buttons."""

from collections.abc import Sequence
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from roost.schedules.spec import ScheduleError
from roost.schedules.times import when
from roost.schedules.zones import zone_of
from roost_channels.message import SCHEDULE_BUTTON
from roost_platform.approval_rules import ApprovalRules
from roost_platform.db import models
from roost_platform.db.cards.words import clock, moment, plain, subject
from roost_platform.db.inbox.arrival import Arrival
from roost_platform.db.inbox.replies.card_events import WHICH, may
from roost_platform.db.inbox.scheduling.reminding import answers_zone
from roost_platform.db.inbox.scheduling.replying import reply
from roost_platform.db.inbox.scheduling.shown import (
    Shown,
    meant,
    pressed,
    quoted_message,
    read_word,
    settle,
    settled,
)
from roost_platform.db.schedules import changing, messages
from roost_platform.db.schedules.keeping import LIVE, code_of
from roost_platform.db.turns.scheduled.titles import title_of
from roost_platform.db.waits.answering import open_in

# Words under a reminder, also where it has no such button.
WORDS: Final = {
    "done": messages.DONE,
    "snooze": messages.SNOOZE,
    "snooze 10 min": messages.SNOOZE,
    "tomorrow": messages.TOMORROW,
    "delete": messages.DELETE,
}
HOW_TO_CHANGE: Final = "To change it, write: /schedules change {code} tomorrow 9:00"
NOT_YOURS: Final = "Only the person whose schedule it is can do that."
REMINDER_KEY: Final = "schedule:"  # begins the key of a reminder's message


async def press(session: AsyncSession, arrival: Arrival) -> bool:
    """Take a pressed button of a schedule; False for any other button."""
    data = arrival.event.text
    if not data.startswith(SCHEDULE_BUTTON):
        return False
    schedule_id, _, choice = data.removeprefix(SCHEDULE_BUTTON).partition(":")
    schedule = await session.get(models.Schedule, schedule_id)
    message = None
    if schedule is not None and schedule.conversation_id == arrival.conversation.id:
        message = await pressed(session, arrival)
    if schedule is None or message is None:
        arrival.conclude("ignored", "unknown_button")
        return True
    arrival.conclude("done")
    if schedule.owner_id not in ("", arrival.row.identity_id):
        arrival.answer = NOT_YOURS
        return True
    arrival.answer = await _choose(session, arrival, Shown(message, schedule), choice)
    if arrival.answer is None:
        arrival.conclude("ignored", "unknown_button")
    return True


async def take_words(session: AsyncSession, arrival: Arrival, rules: ApprovalRules) -> bool:
    """Take a message that answers a reminder, an echo or the question just before it; else False.

    Numbers stand for buttons where these may not reach people, and in a reply to the message.
    """
    event = arrival.event
    if event.attachments or event.forwarded_from:
        return False
    if await answers_zone(session, arrival):
        return True
    word, code = read_word(event.text)
    quoted = await quoted_message(session, arrival)
    is_reply = event.quote is not None and bool(event.quote.ref)
    by_words = (arrival.conversation.channel, arrival.conversation.account) in rules.by_words
    if (is_reply and quoted is None) or (word.isdecimal() and not by_words and quoted is None):
        return False
    shown = await meant(session, arrival, code, by_number=word.isdecimal())
    takes_all = by_words or quoted is not None
    found = [(one, choice) for one in shown if (choice := _choice_of(one, word, takes_all))]
    if not found:
        return False
    arrival.conclude("done")
    questions: Sequence[models.Approval] = []
    if quoted is None and not code:
        questions = [
            one
            for one in await open_in(session, arrival.conversation.id)
            if may(one, arrival) and (word.isdecimal() or one.kind != "approve")
        ]
    if len(found) > 1 or questions:
        told = _which([one for one, _ in found], questions, word)
    else:
        told = await _choose(session, arrival, *found[0]) or changing.GONE
    await reply(session, arrival, told)
    return True


def _choice_of(shown: Shown, word: str, takes_all: bool) -> str:
    """What a word does to the message; empty for none."""
    is_reminder = shown.message.dedupe_key.startswith(REMINDER_KEY)
    choice = shown.choice_of(word) if takes_all else ""
    return choice or (WORDS.get(word, "") if is_reminder else "")


def _which(shown: Sequence[Shown], questions: Sequence[models.Approval], word: str) -> str:
    """Ask which of several open messages is meant."""
    lines = [f"`{code_of(one.schedule)}` {title_of(one.schedule)}" for one in shown]
    lines += [f"`{one.code}` {subject(one)}" for one in questions if one.code]
    example = f"{word} {code_of(shown[0].schedule)}"
    return WHICH.format(example=example, lines="\n".join(lines))


async def _choose(session: AsyncSession, arrival: Arrival, shown: Shown, choice: str) -> str | None:
    """Do what was chosen under a message, once. Returns what the person is told, None for an
    unknown choice.

    The message says from then on what was chosen.
    """
    schedule = shown.schedule
    before = await settled(session, shown.message)
    if before is not None:
        return before
    needs_life = choice in (messages.OK, messages.CHANGE, messages.PAUSE, messages.RESUME)
    is_over = schedule.state == "deleted" or (needs_life and schedule.state not in LIVE)
    if is_over and choice not in (messages.CANCEL, messages.DELETE):
        await settle(session, arrival, shown.message, changing.GONE)
        return changing.GONE
    try:
        done = await _do(session, arrival, schedule, choice)
    except ScheduleError as error:
        return str(error)
    if done is None:
        return None
    told, said = done
    who = f" by {plain(arrival.writer)}" if arrival.event.is_group else ""
    await settle(session, arrival, shown.message, said.replace("{who}", who))
    return told


async def _do(
    session: AsyncSession, arrival: Arrival, schedule: models.Schedule, choice: str
) -> tuple[str, str] | None:
    """Do what was chosen: (what the person is told, what the message says from then on)."""
    now = arrival.now
    at = clock(now, _zone_of(schedule))
    match choice:
        case messages.OK:
            return "Kept.", f"Kept{{who}} {at}"
        case messages.CHANGE:
            how = HOW_TO_CHANGE.format(code=code_of(schedule))
            return how, how
        case messages.CANCEL | messages.DELETE:
            await changing.delete(session, schedule, now)
            word = "Cancelled" if choice == messages.CANCEL else "Deleted"
            return f"{word}.", f"{word}{{who}} {at}"
        case messages.DONE:
            await changing.mark_done(session, schedule, now)
            return "Well done.", f"Done{{who}} {at}"
        case messages.SNOOZE | messages.TOMORROW:
            again = await changing.snooze(
                session, schedule, arrival.conversation, now, tomorrow=choice == messages.TOMORROW
            )
            due_at = again.due_at or now
            due = when(due_at, zone_of(again.zone))
            told = f"I will remind you again: {due} ({again.zone})."
            return told, f"Put off{{who}} until {moment(due_at, now, zone_of(again.zone))}"
        case messages.PAUSE:
            changing.pause(schedule)
            return "Paused.", f"Paused{{who}} {at}"
        case messages.RESUME:
            changing.resume(schedule, now)
            return "Resumed.", f"Resumed{{who}} {at}"
    return None


def _zone_of(schedule: models.Schedule) -> ZoneInfo | None:
    try:
        return zone_of(schedule.zone)
    except LookupError:  # the zone is known no more
        return None
