"""Schedules for operators and for tools; every method is one transaction."""

from collections.abc import Sequence
from typing import Literal, cast

from sqlalchemy.ext.asyncio import AsyncSession

from roost.schedules.keeper import Kept, Wanted, resolve
from roost.schedules.kinds import Kind
from roost.schedules.spec import ScheduleError
from roost.schedules.zones import find_zone
from roost_platform.db import models
from roost_platform.db.audit import audit
from roost_platform.db.base.engine import Database
from roost_platform.db.enqueue import enqueue
from roost_platform.db.locks import lock_conversation, lock_turn
from roost_platform.db.schedules import changing
from roost_platform.db.schedules.firing import Due, fire_now
from roost_platform.db.schedules.keeping import (
    LIVE,
    NewSchedule,
    code_of,
    echo_of,
    keep,
    live_of,
    named,
)
from roost_platform.db.schedules.messages import created_buttons, created_text, with_words
from roost_platform.db.turns.lookups import person_of
from roost_platform.errors import NotAllowed, NotFound

OperatorAction = Literal["run", "pause", "resume", "delete"]


class ScheduleStore:
    """Implements `roost.schedules.keeper.ScheduleKeeper`, and what operators do to schedules."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def act(
        self, schedule_id: str, action: OperatorAction, operator: str, ip: str = ""
    ) -> Sequence[str]:
        """Run, pause, resume or delete a schedule, audited; the conversations to ring.

        Raises NotFound, and NotAllowed for one that is over.
        """
        async with self._database.write() as session:
            schedule = await session.get(models.Schedule, schedule_id)
            if schedule is None:
                raise NotFound(f"There is no schedule {schedule_id!r}.")
            chat = await lock_conversation(session, schedule.conversation_id)
            await session.refresh(schedule)
            now = self._database.now()
            rung: Sequence[str] = ()
            try:
                if schedule.state not in LIVE:
                    raise ScheduleError(changing.GONE)
                match action:
                    case "run":
                        rung = await fire_now(session, Due(schedule, chat), now)
                    case "pause":
                        changing.pause(schedule)
                    case "resume":
                        changing.resume(schedule, now)
                    case "delete":
                        await changing.delete(session, schedule, now)
            except ScheduleError as error:
                raise NotAllowed(str(error)) from None
            detail = {"kind": schedule.kind}
            await audit(session, now, operator, f"schedule.{action}", schedule_id, detail, ip)
            return rung

    async def add(self, turn_id: str, key: str, wanted: Wanted) -> Kept:
        """See `ScheduleKeeper.add`. The chat is told at once what was understood."""
        async with self._database.write() as session:
            chat, person = await _place_of(session, turn_id)
            now = self._database.now()
            zone_name = "" if person is None else person.zone
            spec, zone = resolve(wanted, zone_name, now)
            new = NewSchedule(
                kind=wanted.kind,
                text=wanted.text,
                spec=spec,
                zone=zone.key,
                key=f"call:{key}",
                created_by="agent",
                missed=wanted.missed,
                overlap=wanted.overlap,
                options=wanted.options,
            )
            kept = await keep(session, chat, "" if person is None else person.id, new, now)
            if person is not None and not person.zone and wanted.zone and zone.key != "UTC":
                person.zone = find_zone(wanted.zone) or ""  # the person was asked for it
            buttons = created_buttons(kept)
            await enqueue(
                session,
                chat,
                kind="notice",
                body=with_words(created_text(kept, now), buttons, chat.channel),
                dedupe_key=f"scheduled:{kept.id}",
                now=now,
                buttons=buttons,
            )
            return _kept(kept, now)

    async def list(self, turn_id: str) -> Sequence[Kept]:
        """See `ScheduleKeeper.list`."""
        async with self._database.write(is_news=False) as session:
            chat, person = await _place_of(session, turn_id)
            rows = await live_of(session, chat.id, "" if person is None else person.id)
            return [_kept(row, self._database.now()) for row in rows]

    async def delete(self, turn_id: str, code: str) -> bool:
        """See `ScheduleKeeper.delete`."""
        async with self._database.write() as session:
            chat, person = await _place_of(session, turn_id)
            rows = await live_of(session, chat.id, "" if person is None else person.id)
            found = named(rows, code)
            if found is not None:
                await changing.delete(session, found, self._database.now())
            return found is not None


async def _place_of(
    session: AsyncSession, turn_id: str
) -> tuple[models.Conversation, models.Identity | None]:
    """The chat at the top of the turn's tree, locked, and the person whom the turn answers."""
    turn, conversation = await lock_turn(session, turn_id)
    person = await person_of(session, turn, conversation)
    if conversation.root_id is not None:
        conversation = await session.get_one(models.Conversation, conversation.root_id)
    return conversation, person


def _kept(row: models.Schedule, now: float) -> Kept:
    words = echo_of(row, now) if row.state == "active" else ""
    return Kept(code_of(row), cast(Kind, row.kind), row.text, words, row.state)
