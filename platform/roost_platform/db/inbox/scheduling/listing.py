"""/schedules: the list of a chat, and what is done to one of them by its code."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from roost.schedules.spec import ScheduleError
from roost.schedules.zones import zone_of
from roost_channels.message import Button
from roost_platform.db import models
from roost_platform.db.inbox.arrival import Arrival
from roost_platform.db.inbox.scheduling.replying import reply, zone_for
from roost_platform.db.schedules import changing
from roost_platform.db.schedules.firing import Due, fire_now
from roost_platform.db.schedules.keeping import code_of, live_of, named
from roost_platform.db.schedules.messages import (
    DELETE,
    PAUSE,
    RESUME,
    buttons,
    created_buttons,
    created_text,
    line_of,
)
from roost_platform.db.schedules.options import UNTIL_DONE
from roost_platform.db.turns.scheduled.titles import title_of
from roost_platform.schedules.remind import ZoneNeeded, read_reminder
from roost_platform.schedules.words import FORMS

ANY_TEXT: Final = "it"
LIST_MAX: Final = 50
NONE: Final = f"You have no schedules here.\n\n{FORMS}"
USAGE: Final = (
    "/schedules pause CODE, resume CODE, run CODE, delete CODE; "
    "/schedules change CODE tomorrow 9:00 call Ana"
)
UNKNOWN: Final = "No schedule here has the code “{code}”. /schedules shows them all."
VERBS: Final = ("pause", "resume", "delete", "run", "change")


async def schedules(session: AsyncSession, arrival: Arrival, words: str) -> None:
    """Answer /schedules, alone or with a verb and a code."""
    live = await live_of(session, arrival.conversation.id, arrival.row.identity_id or "")
    verb, _, rest = words.strip().partition(" ")
    if not verb:
        await _list(session, arrival, live)
        return
    code, _, when = rest.strip().partition(" ")
    if verb.lower() not in VERBS or not code:
        await reply(session, arrival, USAGE)
        return
    found = named(live, code)
    if found is None:
        await reply(session, arrival, UNKNOWN.format(code=code[:20]))
        return
    try:
        await _carry_out(session, arrival, found, verb.lower(), when)
    except ScheduleError as error:
        await reply(session, arrival, str(error))


async def _list(session: AsyncSession, arrival: Arrival, rows: Sequence[models.Schedule]) -> None:
    if not rows:
        await reply(session, arrival, NONE)
        return
    lines = [line_of(one) for one in rows[:LIST_MAX]]
    shown: list[Button] = []
    if len(rows) == 1:
        is_paused = rows[0].state == "paused"
        rest = ("Resume", RESUME) if is_paused else ("Pause", PAUSE)
        shown = buttons(rows[0], rest, ("Delete", DELETE))
    await reply(session, arrival, "\n".join([*lines, "", USAGE]), shown)


async def _carry_out(
    session: AsyncSession, arrival: Arrival, schedule: models.Schedule, verb: str, when: str
) -> None:
    title, now = title_of(schedule), arrival.now
    if verb == "run":
        rung = await fire_now(session, Due(schedule, arrival.conversation), now)
        arrival.released = (*arrival.released, *rung)
        if schedule.kind != "reminder":
            await reply(session, arrival, f"Running: {title}")
    elif verb == "pause":
        changing.pause(schedule)
        await reply(session, arrival, f"Paused: {title}\n/schedules resume {code_of(schedule)}")
    elif verb == "delete":
        await changing.delete(session, schedule, now)
        await reply(session, arrival, f"Deleted: {title}")
    elif verb == "resume":
        changing.resume(schedule, now)
        await reply(session, arrival, f"Resumed.\n{created_text(schedule, now)}")
    else:
        await _change(session, arrival, schedule, when)


async def _change(
    session: AsyncSession, arrival: Arrival, schedule: models.Schedule, when: str
) -> None:
    """Other times, and another text unless only a time is written."""
    zone = await zone_for(session, arrival) or zone_of(schedule.zone)
    try:
        found = read_reminder(when, arrival.now, zone)
        text = found.text
    except ZoneNeeded:  # the zone is known
        return
    except ScheduleError:  # what is wrong with the times is wrong with any text
        found = read_reminder(f"{when} {ANY_TEXT}", arrival.now, zone)
        text = schedule.text
    if schedule.kind == "reminder":
        others = {name: one for name, one in schedule.options.items() if name != UNTIL_DONE}
        schedule.options = {**others, **({UNTIL_DONE: True} if found.until_done else {})}
    changing.change(schedule, found.spec, zone.key, text, arrival.now)
    told = created_text(schedule, arrival.now)
    await reply(session, arrival, f"Changed.\n{told}", created_buttons(schedule))
