"""Engines, agents and storage that fail: turns wait, or end with a visible error."""

import asyncio
from collections.abc import AsyncGenerator
from typing import cast
from uuid import uuid4

import pytest

from roost_inference.client.assembly import Completed, Delta
from roost_inference.client.engine_client import ChatRequest
from roost_inference.errors import (
    ContentRefused,
    EngineError,
    EngineFailed,
    EngineSilent,
    EngineUnavailable,
    InvalidRequest,
    PromptTooLong,
    QueueFull,
)
from roost_workflows import policies
from roost_workflows.ports import Snapshot, Turns
from roost_workflows.testing.lab import Lab
from roost_workflows.turn import progress
from roost_workflows.turn.failures import engine_failure
from roost_workflows.turn.progress import CALLS_REMEMBERED_MAX, DELAY_TOLD_S, Board, Outages


@pytest.fixture
def talk() -> str:
    """A fresh conversation's id."""
    return f"talk-{uuid4().hex[:12]}"


class SmallEngine:
    """An engine whose context takes a few messages only."""

    def __init__(self, fits: int) -> None:
        self.fits = fits
        self.sizes: list[int] = []

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Completed, None]:
        self.sizes.append(len(request.messages))
        if len(request.messages) > self.fits:
            raise PromptTooLong
        yield Delta("ok")
        yield Completed("ok", (), "stop", "m", "id", 1, 0, 1)


async def test_a_conversation_too_long_for_the_model_goes_on_without_its_oldest_turns(
    lab: Lab, talk: str
) -> None:
    engine = SmallEngine(fits=8)
    async with lab.worker(engine=engine):
        for number in range(1, 7):
            await lab.say(talk, f"m{number}")
            turn = await lab.turn(talk, number)
            assert turn.state == "done"
    assert max(engine.sizes) > engine.fits
    assert len(lab.store.transcript(talk)) == 12


async def test_a_message_too_long_for_the_model_is_told(lab: Lab, talk: str) -> None:
    async with lab.worker(engine=SmallEngine(fits=1)):
        await lab.say(talk, "hello")
        turn = await lab.turn(talk)
    assert (turn.state, turn.reason) == ("failed", "too_long")


class PickyEngine:
    """An engine that refuses one text for ever."""

    def __init__(self, refusal: type[EngineError]) -> None:
        self.refusal = refusal
        self.asked = 0

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Completed, None]:
        self.asked += 1
        if any("poison" in str(message["content"]) for message in request.messages):
            raise self.refusal("E-4711")
        yield Delta("ok")
        yield Completed("ok", (), "stop", "m", "id", 1, 0, 1)


@pytest.mark.parametrize(
    ("refusal", "reason"), [(InvalidRequest, "refused"), (ContentRefused, "content_refused")]
)
async def test_an_old_message_that_an_engine_refuses_ends_no_conversation(
    lab: Lab, talk: str, refusal: type[EngineError], reason: str
) -> None:
    engine = PickyEngine(refusal)
    async with lab.worker(engine=engine):
        await lab.say(talk, "poison")
        assert (await lab.turn(talk)).reason == reason
        assert engine.asked == 1
        await lab.say(talk, "and now?")
        assert (await lab.turn(talk, 2)).state == "done"
    assert engine.asked == 3


class ShownTurns:
    """Keeps what people are shown."""

    def __init__(self) -> None:
        self.shown: list[Snapshot] = []

    async def progress(self, turn_id: str, snapshot: Snapshot) -> None:
        self.shown.append(snapshot)


async def attempts(error: EngineError, breaks_after_s: float) -> list[tuple[float, Snapshot]]:
    """All attempts of a call that ends so each time, with when each failed, in seconds."""
    turns, now = ShownTurns(), 0.0
    outages = Outages(cast(Turns, turns), Board())
    found: list[tuple[float, Snapshot]] = []
    for attempt in range(1, policies.ENGINE_ATTEMPTS_MAX + 1):
        began, now = now, now + breaks_after_s
        failure = engine_failure(error, attempt)
        await outages.failed("t", error, failure, attempt=attempt, began=began, now=now)
        found += [(now, one) for one in turns.shown]
        turns.shown.clear()
        if failure.non_retryable:
            break
        usual = min(policies.ENGINE_RETRY_S * 2 ** (attempt - 1), policies.ENGINE_RETRY_MAX_S)
        delay = failure.next_retry_delay
        now += usual if delay is None else delay.total_seconds()
    return found


@pytest.mark.parametrize("breaks_after_s", [0.0, 5.0, 20.0])
async def test_r34_an_engine_that_breaks_every_answer_is_told_within_two_minutes(
    breaks_after_s: float,
) -> None:
    found = await attempts(EngineUnavailable("lost in mid-answer"), breaks_after_s)
    assert all(snapshot.phase == "unreachable" for _, snapshot in found)
    told = [at for at, snapshot in found if snapshot.is_delayed]
    assert DELAY_TOLD_S <= told[0] < 120.0
    assert len(told) > 10, "each later attempt says it again, should storage have failed"


async def test_a_wait_that_is_long_in_itself_is_told_at_once() -> None:
    found = await attempts(QueueFull(retry_after_s=90.0), 1.0)
    assert found[0][1].is_delayed


async def test_a_slow_failure_is_told_and_a_quick_end_is_not() -> None:
    assert (await attempts(EngineSilent(), 300.0))[0][1].is_delayed
    assert await attempts(EngineFailed(), 0.1) == []
    assert [one.is_delayed for _, one in await attempts(EngineFailed(), 50.0)] == [True]


async def test_the_time_counts_from_the_first_failure_of_one_call_and_calls_are_bounded() -> None:
    turns, error = ShownTurns(), EngineUnavailable()
    outages = Outages(cast(Turns, turns), Board())
    failure = engine_failure(error, 1)
    for began in (0.0, 100.0):
        await outages.failed("t", error, failure, attempt=1, began=began, now=began + 1)
        outages.over("t")
    assert [one.is_delayed for one in turns.shown] == [False, False]
    for number in range(CALLS_REMEMBERED_MAX + 5):
        await outages.failed(f"t{number}", error, failure, attempt=1, began=0.0, now=0.0)
    assert len(outages._began) == CALLS_REMEMBERED_MAX


class QuietEngine:
    """An engine that takes a call and says nothing before it is let."""

    def __init__(self) -> None:
        self.may_speak = asyncio.Event()

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Completed, None]:
        await self.may_speak.wait()
        yield Delta()
        await asyncio.sleep(0.3)  # it thinks; nobody waits for its first word any more
        yield Completed("ok", (), "stop", "m", "id", 1, 0, 1)


async def test_an_engine_that_is_silent_is_told_while_it_is_waited_for(
    lab: Lab, talk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SILENCE_TOLD_S", 0.3)
    monkeypatch.setattr(progress, "REFRESH_EVERY_S", 0.1)
    engine = QuietEngine()
    async with lab.worker(engine=engine):
        await lab.say(talk, "hello")
        await lab.until(
            lambda: any(one.is_delayed for turn in lab.store.turns(talk) for one in turn.snapshots)
        )
        engine.may_speak.set()
        turn = await lab.turn(talk)
    assert turn.state == "done"
    told = [snapshot.is_delayed for snapshot in turn.snapshots]
    assert told[0] is told[-1] is False


async def test_the_engine_may_be_away_for_a_while(lab: Lab, talk: str) -> None:
    async with lab.worker():
        await lab.say(talk, "[[fail:503 x2]] [[say:back]]")
        turn = await lab.turn(talk)
    assert turn.state == "done"
    assert lab.store.outbox(talk)[0].text == "back"
    assert "unreachable" in [snapshot.phase for snapshot in turn.snapshots], "people see why"


async def test_r34_a_lost_stream_is_asked_again_and_answered_once(lab: Lab, talk: str) -> None:
    async with lab.worker():
        await lab.say(talk, "[[drop x1]] [[say:whole]]")
        await lab.turn(talk)
        await lab.closed(talk)
    assert [sent.text for sent in lab.store.outbox(talk)] == ["whole"]
    assert len(lab.engine.requests) == 2


@pytest.mark.parametrize(
    ("status", "reason", "tries"), [(400, "refused", 1), (500, "engine_failed", 3)]
)
async def test_an_engine_that_refuses_or_fails_ends_the_turn_visibly(
    lab: Lab, talk: str, status: int, reason: str, tries: int
) -> None:
    async with lab.worker():
        await lab.say(talk, f"[[fail:{status}]]")
        turn = await lab.turn(talk)
        await lab.closed(talk)
    assert (turn.state, turn.reason) == ("failed", reason)
    assert len(lab.store.outbox(talk)) == 1
    assert len(lab.engine.requests) == tries


async def test_an_agent_that_is_gone_ends_the_turn_visibly(lab: Lab, talk: str) -> None:
    async with lab.worker():
        lab.store.agent = "retired"
        await lab.say(talk, "hello")
        turn = await lab.turn(talk)
    assert (turn.state, turn.reason) == ("failed", "unknown_agent")


async def test_r35_storage_that_is_away_for_a_moment_only_delays(lab: Lab, talk: str) -> None:
    async with lab.worker():
        lab.store.fail("begin", ConnectionError("storage"))
        await lab.say(talk, "hello")
        await asyncio.sleep(0.3)
        lab.store.fail("begin", None)
        await lab.turn(talk)
    assert len(lab.store.outbox(talk)) == 1
