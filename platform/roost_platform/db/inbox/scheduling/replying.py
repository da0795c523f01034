"""The person behind a chat event about schedules, their time zone, and the answer to them."""

from collections.abc import Sequence
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from roost.schedules.zones import find_zone, zone_of
from roost_channels.message import Button
from roost_platform.db import models
from roost_platform.db.enqueue import enqueue
from roost_platform.db.inbox.arrival import Arrival
from roost_platform.db.reply_targets import reply_target
from roost_platform.db.schedules.messages import with_words

ZONE_QUESTION: Final = (
    "Which time zone are you in? Reply with a city or an IANA name, such as Europe/Rome. "
    "I ask only once; /remind zone changes it."
)
ZONE_UNKNOWN: Final = (
    "I know no time zone “{text}”. Write a big city near you or an IANA name: "
    "/remind zone Rome, or /remind zone Europe/Rome."
)


async def reply(
    session: AsyncSession, arrival: Arrival, text: str, buttons: Sequence[Button] = ()
) -> None:
    """Queue an answer in the chat, once; as a reply where the event was a message."""
    is_message = arrival.row.kind == "message"
    await enqueue(
        session,
        arrival.conversation,
        kind="notice",
        body=with_words(text, buttons, arrival.conversation.channel),
        dedupe_key=f"inbox:{arrival.row.id}",
        now=arrival.now,
        reply_to=await reply_target(session, arrival.row) if is_message else None,
        buttons=buttons,
    )


async def person_of(session: AsyncSession, arrival: Arrival) -> models.Identity | None:
    """Who wrote or pressed."""
    if arrival.row.identity_id is None:
        return None
    return await session.get(models.Identity, arrival.row.identity_id)


async def zone_name(session: AsyncSession, arrival: Arrival) -> str:
    """The person's time zone, empty where they never named one."""
    person = await person_of(session, arrival)
    return "" if person is None else person.zone


async def zone_for(session: AsyncSession, arrival: Arrival) -> ZoneInfo | None:
    """The person's time zone, None where they never named one."""
    name = await zone_name(session, arrival)
    return zone_of(name) if name else None


async def set_zone(session: AsyncSession, arrival: Arrival, text: str) -> str | None:
    """Keep the zone that the words mean; its name, None where they mean none."""
    person, name = await person_of(session, arrival), find_zone(text)
    if person is None or name is None:
        return None
    person.zone = name
    return name
