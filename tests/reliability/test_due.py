"""R31, R42, R43: what is due happens once, also after outages and with two clocks."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select

from roost.waits import Sleep
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import open_stores
from roost_platform.dueclock import DueClock, due_sources
from roost_platform.intake import PlatformIntake
from roost_platform.testing.chats import DoorbellLog, HandClock, Person, count_rows
from roost_platform.testing.scheduling import START, Reminded
from roost_platform.testing.waiting import waiting

OUTAGE = 200


@pytest.fixture
def clock() -> HandClock:
    return HandClock(START)


@pytest.fixture
async def rome(database_url: str, clock: HandClock) -> AsyncIterator[Reminded]:
    """Somebody in Rome, on each kind of database."""
    policies = {("telegram", "42"): AccessPolicy("open")}
    stores = open_stores(Database(database_url, clock=clock), policies=policies)
    bell = DoorbellLog()
    intake = PlatformIntake(stores, bell)
    reminded = Reminded(Person(stores, intake, bell), clock)
    await reminded.says("/remind zone rome")
    yield reminded
    await intake.close()
    await stores.close()


def clocks(person: Person, count: int) -> list[DueClock]:
    """Due-clocks of several couriers on one database."""
    database = person.stores.database
    return [DueClock(database, due_sources(database), person.intake.ring) for _ in range(count)]


async def fire(person: Person, count: int = 2) -> None:
    """Let all of them look until nothing is due."""
    running = clocks(person, count)
    for _ in range(8):  # what one holds, the others leave for the next look
        await asyncio.gather(*(one.fire() for one in running))
    await person.intake.drain()


@pytest.mark.parametrize(
    ("missed", "fired", "skipped"), [("skip", 0, 3), ("once", 1, 2), ("all", 3, 0)]
)
async def test_r31_a_schedule_due_in_an_outage_does_what_it_was_told_to(
    rome: Reminded, missed: str, fired: int, skipped: int
) -> None:
    await rome.keeps("task", "report", missed=missed)
    before = len(await rome.occurrences())
    rome.at(2026, 12, 2, 11)  # three mornings went by
    await fire(rome.person)
    states = [state for state, _ in (await rome.occurrences())[before:]]
    # Times that meet one that waits are left out as well, and say so.
    reasons = [reason for _, reason in await rome.occurrences()]
    assert states.count("fired") + reasons.count("overlap") == fired
    assert reasons.count("missed") == skipped
    async with rome.person.stores.database.read() as session:
        rung = set(await session.scalars(select(models.Inbox.state)))
    assert ("pending" in rung) == (fired > 0)


async def test_r31_a_reminder_due_in_an_outage_comes_once_and_says_when_it_was_due(
    rome: Reminded,
) -> None:
    await rome.says("/remind every day 9:00 pills")
    rome.at(2026, 12, 2, 11)
    await fire(rome.person)
    late = [text for _, text in await rome.person.outbox() if text.startswith("⏰")]
    assert len(late) == 1 and "due 09:00, sent 11:00; 2 earlier times were missed" in late[0]


async def test_r42_two_clocks_end_a_sleep_and_fire_a_time_once(rome: Reminded) -> None:
    person, clock = rome.person, rome.clock
    parked = await waiting(person, *(Sleep(clock.now + 60.0) for _ in range(5)))
    for number in range(10):
        await rome.says(f"/remind tomorrow 9:00 number {number}")
    rome.at(2026, 11, 30, 9)
    person.doorbell.rung.clear()
    await fire(person, 4)
    assert set((await parked.calls()).values()) == {"ready"}
    assert await count_rows(person.stores, models.Occurrence) == 10
    assert len(person.doorbell.rung) == 5, "each end of a sleep rings once"


@pytest.mark.parametrize("back_s", [1.0, 3600.0])
async def test_r42_a_clock_that_goes_back_repeats_nothing(rome: Reminded, back_s: float) -> None:
    person, clock = rome.person, rome.clock
    await rome.says("/remind every day 9:00 pills")
    await waiting(person, Sleep(clock.now + 60.0))
    rome.at(2026, 11, 30, 9)
    await fire(person)
    clock.advance(-back_s)
    await fire(person)
    clock.advance(back_s)
    await fire(person)
    assert await count_rows(person.stores, models.Occurrence) == 1
    assert [state for _, state in await rome.occurrences()] == [""]


async def test_r43_two_hundred_reminders_of_an_outage_come_once_each_and_say_so(
    rome: Reminded,
) -> None:
    for number in range(40):
        await rome.says(f"/remind tomorrow 9:00 number {number}")
    async with rome.person.stores.database.write() as session:
        for row in await rome.schedules():
            for copy in range(OUTAGE // 40 - 1):
                values = {c.name: getattr(row, c.name) for c in models.Schedule.__table__.columns}
                values |= {"id": f"{row.id[:-1]}{'ghjk'[copy]}", "key": f"{row.key}:{copy}"}
                session.add(models.Schedule(**values))
    rome.at(2026, 11, 30, 12)
    await fire(rome.person)
    late = [text for _, text in await rome.person.outbox() if text.startswith("⏰")]
    assert len(late) == OUTAGE and all("due 09:00, sent 12:00" in text for text in late)
