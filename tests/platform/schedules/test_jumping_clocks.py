"""Clocks that jump: a time fires once, and none is lost when the clock is put right."""

import asyncio
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from roost.schedules.keeper import Wanted
from roost.schedules.spec import Cron
from roost.schedules.times import times
from roost.schedules.zones import instant, zone_of
from roost_platform.db import models
from roost_platform.db.due.schedules import DueSchedules
from roost_platform.dueclock import DueClock
from roost_platform.testing.scheduling import Reminded

HOUR = 3600.0
TEN_YEARS = 3653 * 24 * HOUR
# A day on which the clock changes, and a time of day that is skipped or comes twice there.
DAYS = [
    ("America/New_York", (2027, 3, 14), "30 2 * * *"),
    ("America/New_York", (2027, 11, 7), "30 1 * * *"),
    ("Europe/Berlin", (2027, 3, 28), "30 2 * * *"),
    ("Europe/Berlin", (2027, 10, 31), "30 2 * * *"),
    ("Australia/Lord_Howe", (2027, 10, 3), "15 2 * * *"),
    ("Australia/Lord_Howe", (2027, 4, 4), "45 1 * * *"),
]


async def fired(ada: Reminded) -> list[float]:
    async with ada.person.stores.database.read() as session:
        rows = await session.scalars(
            select(models.Occurrence.scheduled_for)
            .where(models.Occurrence.state == "fired")
            .order_by(models.Occurrence.scheduled_for)
        )
        return list(rows)


async def next_look(ada: Reminded) -> float | None:
    return await DueSchedules(ada.person.stores.database).next_due()


@pytest.mark.parametrize("jump", [HOUR, TEN_YEARS], ids=["an hour", "ten years"])
@pytest.mark.parametrize(("zone", "day", "cron"), DAYS)
async def test_each_time_around_a_change_of_the_clock_fires_once_whatever_jumps(
    ada: Reminded, zone: str, day: tuple[int, int, int], cron: str, jump: float
) -> None:
    place = zone_of(zone)
    begin = instant(datetime(*day) - timedelta(hours=20), place)
    ada.clock.now = begin
    await ada.keeps("reminder", "pills", cron, zone=zone)
    for hours in (18, 21.75, 22, 23, 27, 46):
        ada.clock.now = begin + hours * HOUR
        await ada.due()
        ada.clock.advance(jump)
        await ada.due()
        ada.clock.now = begin + hours * HOUR
        await ada.due()
    end = begin + 70 * HOUR
    for hour in range(46, 71):
        ada.clock.now = begin + hour * HOUR
        await ada.due()
    expected = []
    for one in times(Cron(cron), place, begin):
        if one > end:
            break
        expected.append(one)
    assert len(expected) >= 2
    assert [one for one in await fired(ada) if one <= end] == expected


async def test_a_schedule_of_minutes_goes_on_at_once_after_a_clock_of_ten_years(
    ada: Reminded,
) -> None:
    await ada.says("/remind every 30 minutes drink")
    begin = ada.clock.now
    ada.clock.advance(TEN_YEARS)
    assert len(await ada.due()) == 1
    ada.clock.now = begin
    assert await ada.due() == []
    (kept,) = await ada.schedules()
    assert kept.due_at == begin + 1800
    for step in range(1, 5):
        ada.clock.now = begin + step * 1800
        assert await ada.due() == ["⏰ drink"]


async def test_a_running_clock_that_rests_hears_of_a_clock_put_back(
    ada: Reminded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roost_platform.dueclock.LOOK_S", 0.02)
    await ada.says("/remind every 30 minutes drink")
    begin = ada.clock.now
    ada.clock.advance(TEN_YEARS)
    database = ada.person.stores.database
    clock = DueClock(database, [DueSchedules(database)], lambda _: None)
    await clock.fire()
    running = asyncio.create_task(clock.run())
    try:
        await asyncio.sleep(0.2)
        ada.clock.now = begin
        async with asyncio.timeout(30):
            while (await ada.schedules())[0].due_at != begin + 1800:
                await asyncio.sleep(0.02)
    finally:
        running.cancel()


async def test_what_an_ahead_clock_fired_is_not_fired_again(ada: Reminded) -> None:
    await ada.keeps("reminder", "tick", "*/10 * * * *", missed="all")
    begin = ada.clock.now
    ada.clock.advance(HOUR)
    assert len(await ada.due()) == 6
    ada.clock.now = begin
    await ada.due()
    for minute in range(1, 60):
        ada.clock.now = begin + minute * 60
        assert await ada.due() == []
    ada.clock.now = begin + 66 * 60
    assert await ada.due() == ["⏰ tick\n\n_due 15:10, sent 15:11_"]


async def test_one_that_an_ahead_clock_ended_goes_on(ada: Reminded) -> None:
    await ada.person.says("schedule something")
    turn = await ada.person.turn()
    spec = {"every_s": 3600, "start": "2026-11-29T15:00", "end": "2026-11-29T18:00"}
    await ada.person.stores.schedules.add(turn.turn_id, "k", Wanted("reminder", "tea", spec))
    await ada.person.agent_says(turn, 1, "I will.")
    ada.at(2027, 1, 1, 0)
    assert len(await ada.due()) == 1
    assert [one.state for one in await ada.schedules()] == ["done"]
    ada.at(2026, 11, 29, 14, 30)
    await ada.due()
    assert [one.state for one in await ada.schedules()] == ["active"]
    ada.at(2026, 11, 29, 15)
    assert await ada.due() == ["⏰ tea"]


async def test_what_a_person_ended_stays_ended(ada: Reminded) -> None:
    await ada.says("/remind every hour until done drink")
    ada.clock.advance(TEN_YEARS)
    await ada.due()
    assert await ada.presses("Done") == "Well done."
    ada.clock.advance(-TEN_YEARS)
    assert await next_look(ada) is None
    await ada.due()
    assert [one.state for one in await ada.schedules()] == ["done"]


async def test_a_paused_schedule_of_an_ahead_clock_wakes_nobody(ada: Reminded) -> None:
    await ada.says("/remind every hour drink")
    ada.clock.advance(TEN_YEARS)
    await ada.due()
    code = (await ada.schedules())[0].id[-6:]
    await ada.says(f"/schedules pause {code}")
    ada.clock.advance(-TEN_YEARS)
    assert await next_look(ada) == 0.0
    assert await ada.due() == []
    assert await next_look(ada) is None
    assert [one.state for one in await ada.schedules()] == ["paused"]
