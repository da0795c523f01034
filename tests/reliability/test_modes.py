"""R26 on the whole path: a database, Temporal and a worker, with a person who keeps writing."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select

from roost.builtin.concierge import concierge
from roost_platform.db import models
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import open_stores
from roost_platform.intake import PlatformIntake, TemporalDoorbell
from roost_platform.queueing import QueueRules
from roost_platform.testing.chats import DoorbellLog, Person
from roost_workflows.agents import AgentRegistry
from roost_workflows.config import WorkerConfig
from roost_workflows.ports import Ports
from roost_workflows.testing.lab import Lab
from roost_workflows.worker import build_worker


@pytest.fixture
async def grace(lab: Lab, sqlite_url: str) -> AsyncIterator[Person]:
    """Somebody who talks to a real worker over a real database."""
    rules = QueueRules(collect_s=1.0)
    stores = open_stores(
        sqlite_url, policies={("telegram", "42"): AccessPolicy("open")}, queueing=rules
    )
    intake = PlatformIntake(stores, TemporalDoorbell(lab.client))
    ports = Ports(turns=stores.turns, notes=stores.notes)
    config = WorkerConfig(graceful_shutdown_s=1)
    registry = AgentRegistry.of(concierge)
    async with build_worker(lab.client, ports, lab.engine_client, registry, config):
        yield Person(stores, intake, DoorbellLog())
    await intake.close()
    await stores.close()


async def turns(person: Person) -> list[tuple[str, str, list[str]]]:
    """(state, reason, what was taken) of every turn."""
    async with person.stores.database.read() as session:
        found = (await session.scalars(select(models.Turn).order_by(models.Turn.number))).all()
        rows = (await session.scalars(select(models.Inbox).order_by(models.Inbox.sequence))).all()
        return [
            (turn.state, turn.reason_code, [row.text for row in rows if row.turn_id == turn.id])
            for turn in found
        ]


async def until(person: Person, states: list[str]) -> list[tuple[str, str, list[str]]]:
    """The turns, once they have these states."""
    for _ in range(3000):
        found = await turns(person)
        if [state for state, _, _ in found] == states:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"waited for {states}, got {found}")


async def until_written(person: Person) -> None:
    """The answer has begun: of one without a word the next prompt would hold nothing, and the two
    questions, with the directive to be slow, would be one.
    """
    for _ in range(3000):
        async with person.stores.database.read() as session:
            if await session.scalar(select(models.RunProgress.text)):
                return
        await asyncio.sleep(0.02)
    raise AssertionError("no word was written")


async def test_r26_a_newer_message_interrupts_the_answer_and_is_answered(
    lab: Lab, grace: Person
) -> None:
    await grace.says("/queue interrupt", "[[slow:2000]]")
    await until(grace, ["running"])
    await until_written(grace)
    await grace.says("never mind, hello")
    found = await until(grace, ["stopped", "done"])
    assert found == [
        ("stopped", "interrupted", ["[[slow:2000]]"]),
        ("done", "", ["never mind, hello"]),
    ]
    assert (await grace.outbox())[-1][0] == "answer"
    await lab.closed(await grace.conversation_id())


async def test_r26_what_is_written_in_a_row_is_collected_into_one_turn(
    lab: Lab, grace: Person
) -> None:
    await grace.says("/queue collect")
    await grace.says("one", "two", "three")
    found = await until(grace, ["done"])
    assert found == [("done", "", ["one", "two", "three"])]
    assert len(await grace.outbox()) == 2, "the command's reply and one answer"
    await lab.closed(await grace.conversation_id())
