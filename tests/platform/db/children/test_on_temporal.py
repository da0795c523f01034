"""Children through Temporal: they begin at once, and outlive the workers that run them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from sqlalchemy import select

from roost import Agent, tool
from roost.builtin import delegate
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import open_stores
from roost_platform.intake import PlatformIntake, TemporalDoorbell
from roost_platform.testing.chats import DoorbellLog, Person
from roost_platform.testing.workers import ScriptedModel
from roost_platform.wiring.worker import worker_ports
from roost_workflows.agents import AgentRegistry
from roost_workflows.config import WorkerConfig
from roost_workflows.hints.session_hints import NoHints
from roost_workflows.server.connection import connect
from roost_workflows.worker import build_worker

PATIENCE_S = 60.0
RUNS: list[int] = []


@tool(effect="idempotent", timeout=60)
async def slow() -> str:
    """Take a while, the first time."""
    RUNS.append(1)
    if len(RUNS) == 1:
        await asyncio.sleep(50)
    return "slowly done"


CHILD = Agent("child", "Be slow.", tools=[slow])
QUICK = Agent("quick", "Be quick.")
BOSS = Agent("concierge", "Lead.", tools=[delegate(CHILD), delegate(QUICK)])


class House:
    """A person's chat over a real database, and workers on a real Temporal server."""

    def __init__(self, ada: Person, address: str, queue: str) -> None:
        self.ada, self.model = ada, ScriptedModel()
        self._address, self._queue = address, queue

    @contextlib.asynccontextmanager
    async def worker(self) -> AsyncIterator[None]:
        client = await connect(self._address, identity=uuid4().hex)
        ports = worker_ports(self.ada.stores, NoHints())
        config = WorkerConfig(task_queue=self._queue, graceful_shutdown_s=0)
        async with build_worker(client, ports, self.model, AgentRegistry.of(BOSS), config):
            yield

    async def until(self, text: str) -> float:
        """Wait until the chat gets this; how many seconds it took."""
        began = time.monotonic()
        while text not in str(await self.ada.outbox()):
            assert time.monotonic() < began + PATIENCE_S, await self.ada.outbox()
            await asyncio.sleep(0.01)
        return time.monotonic() - began


@pytest.fixture
async def house(sqlite_url: str, temporal_address: str) -> AsyncIterator[House]:
    queue = f"test-{uuid4().hex[:12]}"
    stores = open_stores(Database(sqlite_url), policies={("telegram", "42"): AccessPolicy("open")})
    bell = TemporalDoorbell(await connect(temporal_address, identity="bell"), queue)
    intake = PlatformIntake(stores, bell)
    yield House(Person(stores, intake, DoorbellLog()), temporal_address, queue)
    await intake.close()
    await stores.close()


async def test_child_runs_and_rings_its_parent_without_a_sweeper(house: House) -> None:
    house.model.lines = {
        BOSS.instructions: [[("quick", {"task": "Go."})], "It said: quick."],
        QUICK.instructions: ["Quick."],
    }
    async with house.worker():
        await house.ada.says("Go.")
        took_s = await house.until("It said: quick.")
    async with house.ada.stores.database.read() as session:
        task = await session.scalar(select(models.ChildTask))
        turn = await session.scalar(select(models.Turn).where(models.Turn.agent == "quick"))
    assert task is not None and turn is not None
    print(f"all {took_s:.3f} s, child began after {turn.started_at - task.created_at:.3f} s")


async def test_worker_killed_the_child_resumes(house: House) -> None:
    RUNS.clear()
    house.model.lines = {
        BOSS.instructions: [[("child", {"task": "Go."})], "It is done."],
        CHILD.instructions: [[("slow", {})], "Slowly."],
    }
    async with house.worker():
        await house.ada.says("Go.")
        while not RUNS:
            await asyncio.sleep(0.01)
    async with house.worker():  # the first one is gone, in the middle of the child's call
        await house.until("It is done.")
    assert len(RUNS) == 2
    assert [kind for kind, _ in await house.ada.outbox()] == ["answer"]
