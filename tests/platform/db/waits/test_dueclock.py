"""The due-clock ends sleeps and questions on time, once, however many clocks run."""

import asyncio
from collections.abc import Sequence

import pytest

from roost.waits import Approve, Approver, Ask, Question, Sleep
from roost_platform.dueclock import BATCH_MAX, DueClock, due_sources
from roost_platform.testing.chats import DoorbellLog, HandClock, Person
from roost_platform.testing.waiting import waiting

HOUR = 3600.0
QUESTION = Ask((Question("Which day?"),), timeout_s=HOUR)


def clock_of(person: Person) -> DueClock:
    """A due-clock over the person's database."""
    database = person.stores.database
    return DueClock(database, due_sources(database), person.intake.ring)


async def rings(person: Person, bell: DoorbellLog, *clocks: DueClock) -> list[str]:
    """Let clocks fire at the same time; what they rang."""
    bell.rung.clear()
    await asyncio.gather(*(clock.fire() for clock in clocks))
    await person.intake.drain()
    return bell.rung


async def reminders(person: Person) -> list[str]:
    """The reminders that the person was sent."""
    return [text for _, text in await person.outbox() if text.startswith("I am still waiting")]


async def test_a_sleep_ends_at_its_time_and_rings_once(
    ada: Person, clock: HandClock, doorbell: DoorbellLog
) -> None:
    parked = await waiting(ada, Sleep(clock.now + HOUR))
    due = clock_of(ada)
    clock.advance(HOUR - 1)
    assert await rings(ada, doorbell, due) == []
    assert await parked.calls() == {"c0": "waiting"}
    clock.advance(1)
    assert await rings(ada, doorbell, due) == [parked.turn.conversation_id]
    assert await parked.calls() == {"c0": "ready"}
    assert await rings(ada, doorbell, due) == []
    outcome = await ada.stores.waits.outcome(parked.turn.turn_id, 1, "c0")
    assert outcome is not None and outcome.status == "ok"


async def test_two_clocks_end_each_wait_once(
    ada: Person, clock: HandClock, doorbell: DoorbellLog
) -> None:
    sleeps = [Sleep(clock.now + 1) for _ in range(5)]
    parked = await waiting(ada, *sleeps, QUESTION)
    clock.advance(HOUR)
    rung: list[str] = []
    for _ in range(5):  # a clock that finds the chat held by the other one comes again
        rung += await rings(ada, doorbell, clock_of(ada), clock_of(ada))
    assert rung == [parked.turn.conversation_id] * 6
    assert set((await parked.calls()).values()) == {"ready"}


async def test_a_question_is_recalled_once_at_half_and_ends_at_the_end(
    ada: Person, clock: HandClock, doorbell: DoorbellLog
) -> None:
    parked = await waiting(ada, QUESTION)
    due = clock_of(ada)
    for _ in range(3):
        clock.advance(HOUR / 6)
        assert await rings(ada, doorbell, due) == []
    assert [kind for kind, _ in await ada.outbox()] == ["approval", "notice"]
    for _ in range(2):
        clock.advance(HOUR / 6)
        assert await rings(ada, doorbell, due, clock_of(ada)) == []
    clock.advance(HOUR / 6)
    assert await rings(ada, doorbell, due) == [parked.turn.conversation_id]
    assert (await parked.approval()).state == "expired"
    outcome = await ada.stores.waits.outcome(parked.turn.turn_id, 1, "c0")
    assert outcome is not None and outcome.text == "no_answer"


async def test_a_clock_that_jumps_does_no_harm(
    ada: Person, clock: HandClock, doorbell: DoorbellLog
) -> None:
    parked = await waiting(ada, QUESTION, Sleep(clock.now + HOUR))
    due = clock_of(ada)
    clock.advance(HOUR / 2)
    await rings(ada, doorbell, due)
    clock.advance(-HOUR)
    assert await rings(ada, doorbell, due) == []
    clock.advance(7 * 24 * HOUR)
    assert await rings(ada, doorbell, due) == [parked.turn.conversation_id] * 2
    assert len(await reminders(ada)) == 1


async def test_a_clock_that_jumps_over_the_reminder_sends_none(
    ada: Person, clock: HandClock, doorbell: DoorbellLog
) -> None:
    parked = await waiting(ada, QUESTION)
    clock.advance(7 * 24 * HOUR)
    assert await rings(ada, doorbell, clock_of(ada)) == [parked.turn.conversation_id]
    assert await reminders(ada) == []


async def test_many_due_rows_are_settled_batch_by_batch(
    sqlite_ada: Person, clock: HandClock
) -> None:
    count = BATCH_MAX + 3
    parked = await waiting(sqlite_ada, *(Sleep(clock.now + 1) for _ in range(count)))
    clock.advance(1)
    due = clock_of(sqlite_ada)
    assert [await due.fire() for _ in range(3)] == [BATCH_MAX, 3, 0]
    await sqlite_ada.intake.drain()
    assert set((await parked.calls()).values()) == {"ready"}


async def test_the_running_clock_sleeps_until_news_or_the_due_time(
    ada: Person, clock: HandClock, doorbell: DoorbellLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roost_platform.dueclock.LOOK_S", 0.02)
    due = clock_of(ada)
    running = asyncio.create_task(due.run())
    try:
        parked = await waiting(ada, Sleep(clock.now + HOUR))  # news while it rests
        await asyncio.sleep(0.2)
        assert await parked.calls() == {"c0": "waiting"}
        clock.advance(HOUR)
        async with asyncio.timeout(30):
            while await parked.calls() != {"c0": "ready"}:
                await asyncio.sleep(0.02)
    finally:
        running.cancel()


async def test_an_idle_clock_asks_the_database_nothing(sqlite_ada: Person) -> None:
    asked: list[str] = []

    class Counting:
        async def next_due(self) -> float | None:
            asked.append("next")
            return None

        async def fire(self, now: float, limit: int) -> Sequence[str]:
            asked.append("fire")
            return []

    clock = DueClock(sqlite_ada.stores.database, [Counting()], lambda _: None)
    running = asyncio.create_task(clock.run())
    await asyncio.sleep(0.5)
    running.cancel()
    assert asked == ["next"]


async def test_a_source_that_fails_stops_no_other(
    sqlite_ada: Person,
    clock: HandClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("roost_platform.dueclock.FAILED_S", 0.0)

    class Broken:
        async def next_due(self) -> float | None:
            raise OSError("no database")

        async def fire(self, now: float, limit: int) -> Sequence[str]:
            raise OSError("no database")

    await waiting(sqlite_ada, Sleep(clock.now + 1))
    clock.advance(1)
    database = sqlite_ada.stores.database
    broken = DueClock(database, [Broken(), *due_sources(database)], sqlite_ada.intake.ring)
    assert await broken.fire() == 1
    await sqlite_ada.intake.drain()
    assert "Broken failed" in caplog.text


async def test_a_source_that_failed_is_asked_again_though_nothing_is_committed(
    sqlite_ada: Person, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roost_platform.dueclock.FAILED_S", 0.0)
    monkeypatch.setattr("roost_platform.dueclock.AGAIN_S", 0.05)
    asked = 0

    class Away:
        async def next_due(self) -> float | None:
            nonlocal asked
            asked += 1
            raise OSError("no database")

        async def fire(self, now: float, limit: int) -> Sequence[str]:
            return []

    watching = DueClock(sqlite_ada.stores.database, [Away()], lambda _: None)
    running = asyncio.create_task(watching.run())
    async with asyncio.timeout(20.0):
        while asked < 3:
            clock.advance(0.05)
            await asyncio.sleep(0.05)
    running.cancel()


@pytest.mark.parametrize(
    ("rule", "whose"),
    [
        ("requester", "your decision on"),
        ("operator", "an operator's decision on"),
        ("another", "another person's decision on"),
    ],
)
async def test_a_reminder_says_whose_decision_is_waited_for(
    sqlite_ada: Person, clock: HandClock, rule: Approver, whose: str
) -> None:
    await waiting(sqlite_ada, Approve("Pay 90 €?", approver=rule, timeout_s=HOUR))
    clock.advance(HOUR / 2)
    await clock_of(sqlite_ada).fire()
    (reminder,) = await reminders(sqlite_ada)
    assert reminder.startswith(f"I am still waiting for {whose} “Pay 90 €?”, until ")
