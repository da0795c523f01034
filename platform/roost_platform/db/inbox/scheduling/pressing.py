"""Buttons of schedules and reminders, and the same in words where a chat has no buttons."""

from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost.schedules.spec import ScheduleError
from roost.schedules.times import when
from roost.schedules.zones import zone_of
from roost_platform.commands import SCHEDULE_BUTTON
from roost_platform.db import models
from roost_platform.db.inbox.arrival import Arrival
from roost_platform.db.inbox.scheduling.reminding import answers_zone
from roost_platform.db.inbox.scheduling.replying import reply
from roost_platform.db.schedules import changing, messages
from roost_platform.db.schedules.keeping import LIVE, code_of

WORDS_S: Final = 86_400.0  # how long a word may follow a reminder
WORDS: Final = {
    "done": messages.DONE,
    "snooze": messages.SNOOZE,
    "snooze 10 min": messages.SNOOZE,
    "tomorrow": messages.TOMORROW,
    "delete": messages.DELETE,
}
HOW_TO_CHANGE: Final = "To change it, write: /schedules change {code} tomorrow 9:00"
_PUNCTUATION: Final = " .!"


async def press(session: AsyncSession, arrival: Arrival) -> bool:
    """Take a pressed button of a schedule; False for any other button."""
    data = arrival.event.text
    if not data.startswith(SCHEDULE_BUTTON):
        return False
    schedule_id, _, choice = data.removeprefix(SCHEDULE_BUTTON).partition(":")
    schedule = await session.get(models.Schedule, schedule_id)
    if schedule is None or schedule.conversation_id != arrival.conversation.id:
        arrival.conclude("ignored", "unknown_button")
        return True
    arrival.conclude("done")
    if schedule.owner_id not in ("", arrival.row.identity_id):
        arrival.answer = "Only the person whose schedule it is can do that."
        return True
    try:
        arrival.answer = await _do(session, arrival, schedule, choice)
    except ScheduleError as error:
        arrival.answer = str(error)
    if arrival.answer is None:
        arrival.conclude("ignored", "unknown_button")
    return True


async def take_words(session: AsyncSession, arrival: Arrival) -> bool:
    """Take a message that answers the reminder or the question just before it; else False."""
    if arrival.event.attachments or arrival.event.forwarded_from:
        return False
    if await answers_zone(session, arrival):
        return True
    choice = WORDS.get(" ".join(arrival.event.text.lower().split()).strip(_PUNCTUATION))
    schedule = None if choice is None else await _reminded_just_now(session, arrival)
    if choice is None or schedule is None:
        return False
    arrival.conclude("done")
    try:
        told = await _do(session, arrival, schedule, choice)
    except ScheduleError as error:
        told = str(error)
    await reply(session, arrival, told or changing.GONE)
    return True


async def _reminded_just_now(session: AsyncSession, arrival: Arrival) -> models.Schedule | None:
    """The schedule whose reminder is the last message of the chat, if it is the person's."""
    newest = await session.scalar(
        select(models.Outbox)
        .where(models.Outbox.conversation_id == arrival.conversation.id)
        .order_by(models.Outbox.sequence.desc())
        .limit(1)
    )
    if newest is None or arrival.now - newest.created_at > WORDS_S:
        return None
    _, _, occurrence_id = newest.dedupe_key.partition("schedule:")
    occurrence = await session.get(models.Occurrence, occurrence_id) if occurrence_id else None
    if occurrence is None or occurrence.outbox_id != newest.id:
        return None
    since = await session.scalar(
        select(models.Inbox.id)
        .where(
            models.Inbox.conversation_id == arrival.conversation.id,
            models.Inbox.kind == "message",
            models.Inbox.received_at > newest.created_at,
            models.Inbox.id != arrival.row.id,
        )
        .limit(1)
    )
    schedule = await session.get_one(models.Schedule, occurrence.schedule_id)
    is_theirs = schedule.owner_id in ("", arrival.row.identity_id)
    return schedule if since is None and is_theirs else None


async def _do(
    session: AsyncSession, arrival: Arrival, schedule: models.Schedule, choice: str
) -> str | None:
    """Do what was chosen; what the person is told, None for an unknown choice."""
    now = arrival.now
    match choice:
        case messages.OK:
            return "Kept."
        case messages.CHANGE:
            return _how_to_change(schedule)
        case messages.CANCEL | messages.DELETE:
            await changing.delete(session, schedule, now)
            return "Cancelled." if choice == messages.CANCEL else "Deleted."
        case messages.DONE:
            await changing.mark_done(session, schedule, now)
            return "Well done."
        case messages.SNOOZE | messages.TOMORROW:
            again = await changing.snooze(
                session, schedule, arrival.conversation, now, tomorrow=choice == messages.TOMORROW
            )
            due = when(again.due_at or now, zone_of(again.zone))
            return f"I will remind you again: {due} ({again.zone})."
        case messages.PAUSE:
            changing.pause(schedule)
            return "Paused."
        case messages.RESUME:
            changing.resume(schedule, now)
            return "Resumed."
    return None


def _how_to_change(schedule: models.Schedule) -> str:
    if schedule.state not in LIVE:
        raise ScheduleError(changing.GONE)
    return HOW_TO_CHANGE.format(code=code_of(schedule))
