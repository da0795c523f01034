"""Heartbeats come for as long as an activity runs, whatever it waits for."""

import asyncio

import pytest
from temporalio.testing import ActivityEnvironment

from roost_inference.client.engine_client import ChatRequest
from roost_workflows.agents import load_agents
from roost_workflows.state import CallInput, GenerateInput
from roost_workflows.testing import MemoryStore, memory_ports
from roost_workflows.turn import activity_guard
from roost_workflows.turn.activities import Activities


class NoEngine:
    """Is never asked: storage doesn't answer before the test ends."""

    async def stream(self, request: ChatRequest) -> None:
        raise AssertionError("the engine was asked")


@pytest.mark.parametrize("kind", ["generate", "call_tool"])
async def test_an_activity_beats_while_storage_lets_it_wait(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the queue for the database it would be taken for dead, tried again, and lengthen it."""
    monkeypatch.setattr(activity_guard, "HEARTBEAT_EVERY_S", 0.01)
    ports = memory_ports(MemoryStore())

    async def slow(*_: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(ports.turns, "step", slow)
    monkeypatch.setattr(ports.turns, "call_context", slow)
    activities = Activities(ports, NoEngine(), load_agents(""))  # type: ignore[arg-type]
    beats: list[object] = []
    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *details: beats.append(details)
    work = (
        environment.run(activities.generate, GenerateInput("turn", 1, False))
        if kind == "generate"
        else environment.run(activities.call_tool, CallInput("turn", 1, "call"))
    )
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(beats) > 3
