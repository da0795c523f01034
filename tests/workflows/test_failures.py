"""Engines, agents and storage that fail: turns wait, or end with a visible error."""

import asyncio
from collections.abc import AsyncGenerator
from uuid import uuid4

import pytest

from roost_inference.client.assembly import Completed, Delta
from roost_inference.client.engine_client import ChatRequest
from roost_inference.errors import PromptTooLong
from roost_workflows.testing.lab import Lab


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
