"""What a stop of a tree of agents takes. Run by `make bench`, never by `make test`."""

import asyncio
import os
import time
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import func, select

from roost import Agent, tool
from roost.builtin import delegate
from roost_channels.message import Address, Sender
from roost_inference.benchmarking import report
from roost_inference.benchmarking.figures import Figure, Goal, percentile
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.locks import OPEN_STATES
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import Stores, open_stores
from roost_platform.intake import PlatformIntake, TemporalDoorbell
from roost_platform.testing.chats import DoorbellLog, Person
from roost_platform.testing.workers import ScriptedModel
from roost_platform.wiring.worker import worker_ports
from roost_workflows.agents import AgentRegistry
from roost_workflows.config import WorkerConfig
from roost_workflows.hints.session_hints import NoHints
from roost_workflows.server.connection import connect
from roost_workflows.worker import build_worker

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
CHILDREN, LEAVES = 5, 3  # 5 agents with 3 each: 20 below the chat
ROUNDS = int(os.environ.get("STOP_ROUNDS", "10"))
PATIENCE_S = 60.0
ENDED: list[float] = []  # when each tool was ended


@tool(effect="pure", timeout=600)
async def work() -> str:
    """Work for long."""
    try:
        await asyncio.sleep(600)
    finally:
        ENDED.append(time.monotonic())
    return "done"


LEAF = Agent("leaf", "Work.", tools=[work])
MIDDLE = Agent("middle", "Pass on.", tools=[delegate(LEAF)])
TOP = Agent("concierge", "Lead.", tools=[delegate(MIDDLE)])


@pytest.mark.benchmark
async def test_measure_stop_of_a_tree(sqlite_url: str, temporal_address: str) -> None:
    queue = f"bench-{uuid4().hex[:12]}"
    stores = open_stores(Database(sqlite_url), policies={("telegram", "42"): AccessPolicy("open")})
    client = await connect(temporal_address, identity="bench")
    intake = PlatformIntake(stores, TemporalDoorbell(client, queue))
    config = WorkerConfig(task_queue=queue, graceful_shutdown_s=1, max_concurrent_activities=40)
    took: list[float] = []
    tools: list[float] = []
    model = ScriptedModel()
    ports = worker_ports(stores, NoHints())
    async with build_worker(client, ports, model, AgentRegistry.of(TOP), config):
        for number in range(ROUNDS):
            model.lines = {
                TOP.instructions: [[("middle", {"task": f"Part {n}."}) for n in range(CHILDREN)]],
                MIDDLE.instructions: [
                    [("leaf", {"task": f"Part {n}."}) for n in range(LEAVES)]
                    for _ in range(CHILDREN)
                ],
                LEAF.instructions: [[("work", {})] for _ in range(CHILDREN * LEAVES)],
            }
            address = Address("telegram", "42", str(number))
            sender = Sender(str(number), "Ada", "ada")
            ada = Person(stores, intake, DoorbellLog(), address, sender)
            await ada.says("Go.")
            await until(stores, models.ToolCall.name == "work", CHILDREN * LEAVES)
            ENDED.clear()
            began = time.monotonic()
            await ada.says("/stop")
            await until(stores, models.Turn.state.in_(OPEN_STATES), 0)
            took.append(time.monotonic() - began)
            while len(ENDED) < CHILDREN * LEAVES:
                await asyncio.sleep(0.005)
            tools.append(max(ENDED) - began)
    await intake.close()
    await stores.close()
    run = report.BenchmarkRun("scripted", 1)
    goal = Goal(1.0, 0.4)
    run.add(Figure("children", "/stop of 20 agents, p50", percentile(took, 50), "s"))
    run.add(Figure("children", "/stop of 20 agents, p95", percentile(took, 95), "s", goal=goal))
    last = "/stop of 20 agents, last of 15 tools ended, p95"
    run.add(Figure("children", last, percentile(tools, 95), "s", goal=goal))
    report.append(PAGE, run)
    print([round(each, 3) for each in took], [round(each, 3) for each in tools])


async def until(stores: Stores, which: object, wanted: int) -> None:
    """Wait until so many running calls, or open turns, are of this kind."""
    column = models.Turn.id
    query = select(func.count(column)).where(which)  # type: ignore[arg-type]
    if wanted:
        query = (
            select(func.count())
            .select_from(models.ToolCall)
            .where(which, models.ToolCall.state == "running")  # type: ignore[arg-type]
        )
    deadline = time.monotonic() + PATIENCE_S
    while True:
        async with stores.database.read() as session:
            count = await session.scalar(query) or 0
        if count == wanted:
            return
        assert time.monotonic() < deadline, f"{count} and not {wanted}"
        await asyncio.sleep(0.005)
