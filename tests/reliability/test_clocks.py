"""A machine's clock that is set while a turn works: only work counts as work."""

import time
from collections.abc import AsyncGenerator, Iterator

import pytest

from roost import Agent, tool
from roost_inference.client.assembly import Completed, Delta, ToolCall
from roost_inference.client.engine_client import ChatRequest
from roost_platform.testing.chats import HandClock, Person
from roost_platform.testing.workers import InProcessWorker

DAY_S = 86_400.0


class MachineClock:
    """The time that the machine tells: of the database, and of the worker."""

    def __init__(self, database: HandClock) -> None:
        self._database, self._real, self._by_s = database, time.time, 0.0
        self.set_during = ""

    def time(self) -> float:
        return self._real() + self._by_s

    def reached(self, place: str) -> None:
        """Set the clock forward if this is the place for it."""
        if place == self.set_during:
            self._by_s += DAY_S
            self._database.advance(DAY_S)


CLOCKS: list[MachineClock] = []


@pytest.fixture
def machine(clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[MachineClock]:
    CLOCKS.append(MachineClock(clock))
    monkeypatch.setattr("time.time", CLOCKS[-1].time)
    yield CLOCKS[-1]
    CLOCKS.clear()


@tool(effect="pure")
async def look() -> str:
    """Look for a table."""
    CLOCKS[-1].reached("a tool")
    return "a table"


class Engine:
    """Looks once, and then answers."""

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Completed, None]:
        has_looked = request.messages[-1]["role"] == "tool"
        yield Delta("So")
        if has_looked:
            yield Completed("So it is.", (), "stop", "m", "id", 1, 0, 1)
            return
        CLOCKS[-1].reached("a model call")
        calls = (ToolCall("c0", "look", "{}"),)
        yield Completed("", calls, "tool_calls", "m", "id", 1, 0, 1)


@pytest.mark.parametrize("place", ["a tool", "a model call"])
async def test_a_clock_that_is_set_forward_in_a_turn_costs_no_answer(
    ada: Person, machine: MachineClock, place: str
) -> None:
    """A day later by the clock, of a turn that may work for an hour."""
    machine.set_during = place
    worker = InProcessWorker(
        ada, Agent("concierge", "Look.", [look], max_turn_s=3600), engine=Engine()
    )
    await ada.says("Is there a table?")
    await worker.work()
    assert (await ada.outbox())[-1] == ("answer", "So it is.")
