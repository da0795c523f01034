"""For tests: a person who has schedules, and a due-clock that looks when it is told to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from roost.schedules.keeper import Wanted
from roost.schedules.kinds import Kind
from roost.schedules.zones import instant, zone_of
from roost_platform.db import models
from roost_platform.db.due.schedules import DueSchedules
from roost_platform.testing.chats import HandClock, Person
from roost_workflows.ports import TurnRecord

ROME = zone_of("Europe/Rome")
START = instant(datetime(2026, 11, 29, 14, 5), ROME)  # a Sunday


@dataclass(slots=True)
class Reminded:
    """A person in a chat who has schedules, with the clock and what is due.

    rung: the conversations that the last look at what is due asked to ring.
    """

    person: Person
    clock: HandClock
    rung: Sequence[str] = ()

    async def says(self, text: str) -> list[str]:
        """Write; what was queued for the chat since then, without edits of earlier messages."""
        before = len(await self.person.outbox())
        await self.person.says(text)
        queued = (await self.person.outbox())[before:]
        return [text for kind, text in queued if kind != "approval"]

    async def presses(self, label: str, message: int = -1) -> str:
        """Press a button of a message with buttons, by default the newest; what she is told."""
        async with self.person.stores.database.read() as session:
            rows = await session.scalars(select(models.Outbox).order_by(models.Outbox.sequence))
            buttons = [row.buttons for row in rows.all() if row.buttons][message]
        data = next(one["data"] for one in buttons if one["label"] == label)
        event = self.person.message(data, kind="callback")
        return (await self.person.gives(event)).answers[event.event_id]

    async def due(self, *, limit: int = 50) -> list[str]:
        """Let what is due fire; what was queued for the chat by it."""
        before = len(await self.person.outbox())
        self.rung = await DueSchedules(self.person.stores.database).fire(self.clock.now, limit)
        return [text for _, text in (await self.person.outbox())[before:]]

    def at(self, *wall: int, zone: str = "Europe/Rome") -> None:
        """Turn the clock to a local time."""
        self.clock.now = instant(datetime(*wall), zone_of(zone))  # type: ignore[arg-type]

    async def schedules(self) -> list[models.Schedule]:
        """All schedules, oldest first."""
        async with self.person.stores.database.read() as session:
            rows = await session.scalars(select(models.Schedule).order_by(models.Schedule.id))
            return list(rows)

    async def occurrences(self) -> list[tuple[str, str]]:
        """(state, reason) of all times, oldest first."""
        async with self.person.stores.database.read() as session:
            rows = await session.scalars(
                select(models.Occurrence).order_by(models.Occurrence.scheduled_for)
            )
            return [(row.state, row.reason) for row in rows]

    async def keeps(self, kind: Kind, text: str, cron: str = "0 9 * * *", **more: Any) -> str:
        """Keep a schedule through the tool port, in a turn that then ends; its code."""
        await self.person.says("schedule something")
        turn = await self.person.turn()
        wanted = Wanted(kind, text, {"cron": cron}, **more)
        kept = await self.person.stores.schedules.add(turn.turn_id, f"{turn.turn_id}:1:c0", wanted)
        await self.person.agent_says(turn, 1, "I will.")
        return kept.code

    async def begin_rung(self) -> TurnRecord:
        """Begin the turn of the last conversation that was rung."""
        turn = await self.person.stores.turns.begin(self.rung[-1])
        assert isinstance(turn, TurnRecord)
        return turn
