"""R32 and R44: a child's answer arrives once, and a stop reaches a whole tree."""

import asyncio

import pytest
from sqlalchemy import select

from roost import Agent, tool
from roost.builtin import delegate
from roost_platform.db import models
from roost_platform.sweeper import Sweeper
from roost_platform.testing.chats import HandClock, Person
from roost_platform.testing.workers import InProcessWorker, rung_by

SENT: list[str] = []


@tool(effect="unsafe")
async def send(to: str) -> str:
    """Send a letter."""
    SENT.append(to)
    return "sent"


LEAF = Agent("leaf", "Do it.", tools=[send])
MIDDLE = Agent("middle", "Pass on.", tools=[delegate(LEAF)])
TOP = Agent("concierge", "Lead.", tools=[delegate(MIDDLE), delegate(LEAF, wait=False, name="go")])
TASK = {"task": "Do the thing."}


async def rows(person: Person, model: type[models.Base]) -> list[models.Base]:
    async with person.stores.database.read() as session:
        return list(await session.scalars(select(model)))


async def led(person: Person, call: str) -> InProcessWorker:
    """A chat whose agent gave a task; nothing below it has begun."""
    SENT.clear()
    worker = InProcessWorker(person, TOP)
    worker.model.lines = {
        TOP.instructions: [[(call, TASK)], "It is done."],
        MIDDLE.instructions: [[("leaf", TASK)], "Passed on."],
        LEAF.instructions: [[("send", {"to": "eve"})], "Sent to eve."],
    }
    await person.says("Do the thing.")
    await person.intake.drain()
    await worker.run_session(await person.conversation_id())
    await person.intake.drain()
    rung_by(person.doorbell)
    return worker


async def test_r32_a_child_that_ends_while_its_parent_is_down_brings_its_result_once(
    ada: Person, clock: HandClock
) -> None:
    worker = await led(ada, "middle")
    (task,) = await rows(ada, models.ChildTask)
    assert isinstance(task, models.ChildTask)
    ada.doorbell.broken = True  # nobody hears of the end
    await worker.run_session(task.conversation_id)
    tasks = [one for one in await rows(ada, models.ChildTask) if one is not None]
    await worker.run_session(tasks[-1].conversation_id)  # type: ignore[attr-defined]
    await worker.run_session(task.conversation_id)
    ada.doorbell.broken = False
    assert rung_by(ada.doorbell) == []
    clock.advance(10.0)
    await Sweeper(ada.stores, ada.doorbell).sweep()
    await worker.work()
    await worker.run_session(await ada.conversation_id())
    results = [row for row in await rows(ada, models.Transcript) if row.role == "tool"]  # type: ignore[attr-defined]
    assert [row.content for row in results].count("Passed on.") == 1  # type: ignore[attr-defined]
    assert [kind for kind, _ in await ada.outbox()] == ["answer"] and SENT == ["eve"]


async def test_r32_a_child_of_a_parent_that_was_stopped_brings_nothing(ada: Person) -> None:
    worker = await led(ada, "middle")
    await ada.says("/stop")
    await worker.work()
    assert [row.state for row in await rows(ada, models.ChildTask)] == ["stopped"]  # type: ignore[attr-defined]
    assert SENT == [] and [kind for kind, _ in await ada.outbox()] == ["notice"]


async def test_r32_a_background_child_brings_one_message_also_when_it_ends_twice(
    ada: Person,
) -> None:
    worker = await led(ada, "go")
    (task,) = await rows(ada, models.ChildTask)
    assert isinstance(task, models.ChildTask)
    await asyncio.gather(*(worker.run_session(task.conversation_id) for _ in range(2)))
    await worker.work()
    brought = [row for row in await rows(ada, models.Inbox) if row.kind == "result"]  # type: ignore[attr-defined]
    assert len(brought) == 1 and len(SENT) <= 1


@pytest.mark.parametrize("word", ["/stop", "/new"])
@pytest.mark.parametrize("depth", [1, 2])
async def test_r44_a_stop_with_all_workers_dead_settles_what_waits_and_nothing_runs_later(
    ada: Person, word: str, depth: int
) -> None:
    worker = await led(ada, "middle")
    if depth == 2:
        (task,) = await rows(ada, models.ChildTask)
        await worker.run_session(task.conversation_id)  # type: ignore[attr-defined]
    await ada.intake.drain()
    rung_by(ada.doorbell)
    await ada.says(word)  # every worker is dead from here on
    assert {row.state for row in await rows(ada, models.ChildTask)} == {"stopped"}  # type: ignore[attr-defined]
    assert {row.state for row in await rows(ada, models.Turn)} == {"stopped"}  # type: ignore[attr-defined]
    assert "pending" not in {row.state for row in await rows(ada, models.Inbox)}  # type: ignore[attr-defined]
    for talk in await rows(ada, models.Conversation):  # a worker is back, and everything is rung
        await worker.run_session(talk.id)  # type: ignore[attr-defined]
    assert SENT == []
    assert len([kind for kind, _ in await ada.outbox() if kind in ("answer", "error")]) == 0
