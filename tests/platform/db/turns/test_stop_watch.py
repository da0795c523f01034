"""A recorded stop ends what a worker runs, also where no signal of it arrives."""

import asyncio
from collections.abc import AsyncGenerator

from temporalio.testing import ActivityEnvironment

from roost import Agent, tool
from roost_inference.client.assembly import Completed, Delta
from roost_inference.client.engine_client import ChatRequest
from roost_platform.db import models
from roost_platform.db.turns.stop import StopNews
from roost_platform.testing.chats import Person
from roost_platform.testing.waiting import begun
from roost_platform.testing.workers import ScriptedModel
from roost_platform.wiring.worker import worker_ports
from roost_workflows.agents import AgentRegistry
from roost_workflows.hints.session_hints import NoHints
from roost_workflows.state import CallInput, GenerateInput, StepResult
from roost_workflows.turn.activities import Activities
from roost_workflows.turn.activity_guard import StopWatch

PATIENCE_S = 30.0


async def is_booked(key: str) -> str | None:
    """Find the booking."""
    return f"booked under {key}"


@tool(effect="verifiable", timeout=600, check=is_booked)
async def book(day: str) -> str:
    """Book for long."""
    await asyncio.sleep(600)
    return "booked"


AGENT = Agent("concierge", "Book.", tools=[book])


class SlowModel(ScriptedModel):
    """A model that writes one word and then says nothing for long."""

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Completed, None]:
        """The word."""
        yield Delta("One")
        await asyncio.sleep(600)


def activities(person: Person, model: ScriptedModel) -> Activities:
    ports = worker_ports(person.stores, NoHints())
    stops = StopWatch(StopNews(person.stores.database))
    return Activities(ports, model, AgentRegistry.of(AGENT), stops=stops)


async def until_running(person: Person, turn_id: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while (await person.stores.turns.call(turn_id, 1, "c0")).state != "running":
            await asyncio.sleep(0.01)


async def shown(person: Person, turn_id: str) -> str:
    """The text that people see."""
    async with person.stores.database.read() as session:
        return (await session.get_one(models.RunProgress, turn_id)).text


async def test_a_recorded_stop_ends_a_running_tool_without_a_signal(ada: Person) -> None:
    parked = await begun(ada, "book")
    turn_id = parked.turn.turn_id
    environment = ActivityEnvironment()
    call = CallInput(turn_id, 1, "c0")
    running = asyncio.ensure_future(
        environment.run(activities(ada, ScriptedModel()).call_tool, call)
    )
    await until_running(ada, turn_id)
    await ada.says("/stop")
    async with asyncio.timeout(PATIENCE_S):
        assert await running is False
    assert (await ada.stores.turns.call(turn_id, 1, "c0")).state == "ok"  # the check found it


async def test_a_stop_of_another_turn_leaves_a_tool_running(ada: Person) -> None:
    parked = await begun(ada, "book")
    turn_id = parked.turn.turn_id
    call = CallInput(turn_id, 1, "c0")
    running = asyncio.ensure_future(
        ActivityEnvironment().run(activities(ada, ScriptedModel()).call_tool, call)
    )
    await until_running(ada, turn_id)
    for _ in range(5):
        await ada.stores.turns.note_error(turn_id, "news")
        await asyncio.sleep(0.05)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_recorded_stop_ends_a_model_call_and_keeps_its_text(ada: Person) -> None:
    await ada.says("Write.")
    turn = await ada.turn()
    running = asyncio.ensure_future(
        ActivityEnvironment().run(
            activities(ada, SlowModel()).generate, GenerateInput(turn.turn_id, 1, False)
        )
    )
    async with asyncio.timeout(PATIENCE_S):
        while await shown(ada, turn.turn_id) != "One":
            await asyncio.sleep(0.01)
    await ada.says("/stop")
    async with asyncio.timeout(PATIENCE_S):
        assert await running == StepResult("stopped")
