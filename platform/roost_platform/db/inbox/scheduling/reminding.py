"""/remind: a reminder in the person's own words, and the question for their time zone."""

from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost.schedules.spec import ScheduleError
from roost.schedules.zones import find_zone
from roost_platform.db import models
from roost_platform.db.inbox.arrival import Arrival
from roost_platform.db.inbox.scheduling.replying import (
    ZONE_QUESTION,
    ZONE_UNKNOWN,
    reply,
    set_zone,
    zone_for,
)
from roost_platform.db.schedules.keeping import NewSchedule, keep
from roost_platform.db.schedules.messages import created_buttons, created_text
from roost_platform.schedules.remind import ZoneNeeded, read_reminder
from roost_platform.schedules.words import FORMS

ASKED_S: Final = 86_400.0  # how long the question for the zone stands
WITHOUT_ZONE: Final = "UTC"
ZONE_HINT: Final = "I count in UTC: tell me your time zone with /remind zone and a city."


async def remind(session: AsyncSession, arrival: Arrival, words: str) -> None:
    """Answer /remind; what is behind `zone` names the person's time zone."""
    first, _, rest = words.strip().partition(" ")
    if first.lower() == "zone":
        await _take_zone(session, arrival, rest)
    elif not words.strip():
        await reply(session, arrival, FORMS)
    else:
        await _keep(session, arrival, words, arrival.now)


async def answers_zone(session: AsyncSession, arrival: Arrival) -> bool:
    """Take a message as the answer to the question for the zone, if that was the last word and the
    message is a zone; else it is for the agent.
    """
    if find_zone(arrival.event.text) is None:
        return False
    asked = await _asked(session, arrival, only_last=True)
    if asked is None or await set_zone(session, arrival, arrival.event.text) is None:
        return False
    arrival.conclude("done")
    await _go_on(session, arrival, asked)
    return True


async def _take_zone(session: AsyncSession, arrival: Arrival, text: str) -> None:
    name = await set_zone(session, arrival, text)
    if name is None:
        shown = " ".join(text.split())[:60]
        await reply(session, arrival, ZONE_UNKNOWN.format(text=shown))
        return
    asked = await _asked(session, arrival)
    if asked is not None:
        await _go_on(session, arrival, asked)
        return
    await reply(session, arrival, f"Your time zone is {name}.")


async def _go_on(session: AsyncSession, arrival: Arrival, asked: models.Inbox) -> None:
    """Keep the reminder that waited for the zone, as of when it was written."""
    asked.reason_code, asked.reason = "", ""
    _, _, words = asked.text.strip().partition(" ")
    await _keep(session, arrival, words, asked.received_at)


async def _asked(
    session: AsyncSession, arrival: Arrival, *, only_last: bool = False
) -> models.Inbox | None:
    """The person's newest /remind that waits for the zone."""
    query = select(models.Inbox).where(
        models.Inbox.conversation_id == arrival.conversation.id,
        models.Inbox.identity_id == arrival.row.identity_id,
        models.Inbox.id != arrival.row.id,
    )
    if only_last:
        last = await session.scalar(query.order_by(models.Inbox.sequence.desc()).limit(1))
        found = last if last is not None and last.reason_code == "awaits_zone" else None
    else:
        query = query.where(models.Inbox.reason_code == "awaits_zone")
        found = await session.scalar(query.order_by(models.Inbox.sequence.desc()).limit(1))
    return found if found is not None and arrival.now - found.received_at < ASKED_S else None


async def _keep(session: AsyncSession, arrival: Arrival, words: str, written_at: float) -> None:
    zone = await zone_for(session, arrival)
    try:
        found = read_reminder(words, written_at, zone)
        new = NewSchedule(
            kind="reminder",
            text=found.text,
            spec=found.spec,
            zone=WITHOUT_ZONE if zone is None else zone.key,
            key=f"inbox:{arrival.row.id}",
            created_by="person",
            options={"until_done": True} if found.until_done else {},
        )
        owner_id = arrival.row.identity_id or ""
        kept = await keep(session, arrival.conversation, owner_id, new, arrival.now)
    except ZoneNeeded:
        arrival.conclude("done", "awaits_zone")
        await reply(session, arrival, ZONE_QUESTION)
        return
    except ScheduleError as error:
        await reply(session, arrival, str(error))
        return
    text = created_text(kept, arrival.now)
    if zone is None:
        text = f"{text}\n{ZONE_HINT}"
    await reply(session, arrival, text, created_buttons(kept))
