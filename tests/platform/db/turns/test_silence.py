"""A turn in which nothing happens is ended and told; an outage ends nothing."""

from dataclasses import dataclass, field

import pytest
from sqlalchemy import update

from roost_channels.clock import Passed
from roost_platform.db import models
from roost_platform.db.turns.turns import RESUMES_MAX
from roost_platform.testing.chats import DoorbellLog, HandClock, Person
from roost_platform.views.problems import engine_refusal, problems
from roost_platform.watchdog import Watchdog
from roost_workflows.ports import ModelCall, Snapshot
from roost_workflows.turn.endings import APOLOGIES, DELAYED

LIMIT_S = 100.0


@dataclass(slots=True)
class EndingLog(DoorbellLog):
    """Also remembers which runs were ended."""

    ended: list[str] = field(default_factory=list)

    async def end(self, conversation_id: str) -> None:
        """Remember it."""
        self.ended.append(conversation_id)


@pytest.fixture
def doorbell() -> EndingLog:
    """A doorbell that works."""
    return EndingLog()


def watchdog(ada: Person, doorbell: EndingLog, slots: int = 10) -> Watchdog:
    return Watchdog(ada.stores, doorbell, no_progress_s=LIMIT_S, slots=slots)


async def looks(ada: Person, dog: Watchdog, clock: HandClock, seconds: float) -> int:
    """Let time pass with a live worker; how many turns were ended."""
    ended = 0
    for _ in range(int(seconds / 10)):
        clock.advance(10.0)
        await ada.stores.heartbeats.beat("worker")
        ended += await dog.look()
    return ended


async def test_a_turn_without_progress_is_ended_and_told(
    ada: Person, clock: HandClock, doorbell: EndingLog
) -> None:
    await ada.says("hello")
    turn = await ada.turn()
    dog = watchdog(ada, doorbell)
    assert await looks(ada, dog, clock, 120) == 0
    async with ada.stores.database.read() as session:
        assert [one.code for one in await problems(session, clock.now)] == ["stuck"]
    assert await looks(ada, dog, clock, 60) == 1
    assert doorbell.ended == [turn.conversation_id]
    assert doorbell.rung[-1] == turn.conversation_id
    assert [text for _, text in await ada.outbox()][-1] == APOLOGIES["no_progress"]
    async with ada.stores.database.read() as session:
        (found,) = await problems(session, clock.now)
    assert (found.code, found.count) == ("no_progress", 1)
    assert "No progress for 100 s" in found.detail
    assert await looks(ada, dog, clock, 200) == 0


async def test_a_clock_that_is_set_forward_ends_no_turn(
    ada: Person, clock: HandClock, doorbell: EndingLog
) -> None:
    await ada.says("hello")
    await ada.turn()
    ticks = 0.0
    ada.stores.database.passed = Passed(clock, lambda: ticks)
    dog = watchdog(ada, doorbell)
    for _ in range(9):
        ticks += 10.0
        assert await looks(ada, dog, clock, 10) == 0
    clock.advance(86_400.0)
    ticks += 10.0
    assert await looks(ada, dog, clock, 10) == 0
    for _ in range(9):
        ticks += 10.0
        await looks(ada, dog, clock, 10)
    assert len(doorbell.ended) == 1


async def test_progress_outages_and_full_workers_end_no_turn(
    ada: Person, clock: HandClock, doorbell: EndingLog
) -> None:
    await ada.says("hello")
    turn = await ada.turn()
    dog = watchdog(ada, doorbell)
    for _ in range(5):
        assert await looks(ada, dog, clock, 90) == 0
        await ada.stores.turns.progress(turn.turn_id, Snapshot("thinking"))
    doorbell.broken = True
    assert await looks(ada, dog, clock, 500) == 0, "the session can't be rung"
    doorbell.broken = False
    clock.advance(500.0)
    assert await dog.look() == 0, "no worker lives"
    assert await looks(ada, watchdog(ada, doorbell, slots=0), clock, 500) == 0, "all slots taken"
    assert await looks(ada, dog, clock, 90) == 0, "the time counts from the outage's end on"
    assert await looks(ada, dog, clock, 30) == 1


async def test_a_turn_that_begins_again_and_again_is_given_up(ada: Person) -> None:
    await ada.says("hello")
    turn = await ada.turn()
    for _ in range(RESUMES_MAX):
        assert await ada.stores.turns.begin(turn.conversation_id) == turn
    assert await ada.stores.turns.begin(turn.conversation_id) is None
    assert [text for _, text in await ada.outbox()][-1] == APOLOGIES["no_progress"]


async def test_a_refused_engine_is_a_problem_until_it_answers(
    ada: Person, clock: HandClock
) -> None:
    await ada.says("hello")
    turn = await ada.turn()
    words = "EngineRefused: HTTP 401: Incorrect API key provided"
    await ada.stores.turns.note_error(turn.turn_id, words)
    await ada.stores.turns.settle(turn.turn_id, outcome="failed", reason="engine_refused")
    async with ada.stores.database.read() as session:
        (found,) = await problems(session, clock.now)
        assert words in await engine_refusal(session, clock.now)
        (hidden,) = await problems(session, clock.now, with_texts=False)
    assert (found.code, found.detail, hidden.detail) == ("engine_refused", words, "")
    clock.advance(5.0)
    await ada.says("again")
    later = await ada.turn()
    await ada.stores.turns.commit_step(later.turn_id, 1, ModelCall("answer", "Hi"))
    async with ada.stores.database.read() as session:
        assert await problems(session, clock.now) == ()
        assert await engine_refusal(session, clock.now) == ""


async def test_a_delay_is_told_once_and_the_answer_comes_behind_it(ada: Person) -> None:
    await ada.says("hello")
    turn = await ada.turn()
    late = Snapshot("unreachable", is_delayed=True)
    for _ in range(3):
        await ada.stores.turns.progress(turn.turn_id, late)
    assert [text for _, text in await ada.outbox()] == [DELAYED]
    await ada.stores.turns.commit_step(turn.turn_id, 1, ModelCall("answer", "Hi"))
    await ada.stores.turns.progress(turn.turn_id, late)
    assert [text for _, text in await ada.outbox()] == [DELAYED, "Hi"]


async def test_no_delay_is_told_of_a_turn_that_is_being_stopped(ada: Person) -> None:
    await ada.says("hello")
    turn = await ada.turn()
    await ada.says("/stop")
    before = await ada.outbox()
    await ada.stores.turns.progress(turn.turn_id, Snapshot("unreachable", is_delayed=True))
    assert await ada.outbox() == before


async def test_an_engine_that_fails_is_a_problem_while_it_does_and_until_it_answers(
    ada: Person, clock: HandClock
) -> None:
    await ada.says("hello")
    turn = await ada.turn()
    words = "AnswerUnfinished: The connection to the engine was lost in mid-answer"
    for _ in range(7):
        await ada.stores.heartbeats.beat("worker")
        await ada.stores.turns.note_error(turn.turn_id, words)
        await ada.stores.turns.progress(turn.turn_id, Snapshot("thinking"))
        clock.advance(10.0)
    async with ada.stores.database.read() as session:
        (found,) = await problems(session, clock.now)
        assert (found.code, found.detail, found.count) == ("failing", words, 1)
    await ada.stores.turns.settle(turn.turn_id, outcome="failed", reason="engine_unavailable")
    async with ada.stores.database.read() as session:
        (found,) = await problems(session, clock.now)
        assert (found.code, found.detail) == ("engine_unavailable", words)
    clock.advance(5.0)
    await ada.says("again")
    later = await ada.turn()
    await ada.stores.turns.commit_step(later.turn_id, 1, ModelCall("answer", "Hi"))
    async with ada.stores.database.read() as session:
        assert await problems(session, clock.now) == ()


async def test_no_delay_is_told_of_what_nobody_wrote(ada: Person) -> None:
    await ada.says("hello")
    turn = await ada.turn()
    async with ada.stores.database.write() as session:
        await session.execute(update(models.Inbox).values(kind="schedule"))
    await ada.stores.turns.progress(turn.turn_id, Snapshot("unreachable", is_delayed=True))
    assert await ada.outbox() == []
