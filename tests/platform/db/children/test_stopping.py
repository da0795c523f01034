"""Stops reach every agent below a chat, also where no worker lives to hear of them."""

import pytest
from sqlalchemy import select, update

from roost import Agent, tool
from roost.builtin import delegate
from roost_channels.clock import Passed
from roost_platform.bulk_stop import stop_running
from roost_platform.db import models
from roost_platform.db.due.stalls import NO_PROGRESS_S, StalledAgents
from roost_platform.errors import TurnOver
from roost_platform.testing.chats import HandClock, Person
from roost_platform.testing.workers import InProcessWorker, rung_by
from roost_workflows.ports import TurnRecord

PAID: list[str] = []


@tool(effect="unsafe")
async def pay(to: str) -> str:
    """Pay somebody."""
    PAID.append(to)
    return "paid"


LEAF = Agent("leaf", "Do it.", tools=[pay])
MIDDLE = Agent("middle", "Pass on.", tools=[delegate(LEAF)])
TOP = Agent("concierge", "Lead.", tools=[delegate(MIDDLE), delegate(LEAF, wait=False, name="go")])
TASK = {"task": "Do the thing."}


async def grown(person: Person) -> InProcessWorker:
    """A chat that waits for an agent that waits for another, whose worker died in a call."""
    worker = InProcessWorker(person, TOP)
    worker.model.lines = {
        TOP.instructions: [[("middle", TASK)]],
        MIDDLE.instructions: [[("leaf", TASK)]],
        LEAF.instructions: [[("pay", {"to": "eve"})]],
    }
    await person.says("Do the thing.")
    await worker.run_session(await person.conversation_id())
    child = await tasks(person)
    await worker.run_session(child[0].conversation_id)
    grandchild = (await tasks(person))[1]
    turn = await person.stores.turns.begin(grandchild.conversation_id)
    assert isinstance(turn, TurnRecord)
    step = await worker.turn(turn.turn_id).generate(1, last=False)
    await person.stores.turns.begin_call(turn.turn_id, 1, step.call_ids[0])
    await person.intake.drain()
    rung_by(person.doorbell)
    return worker


async def tasks(person: Person) -> list[models.ChildTask]:
    async with person.stores.database.read() as session:
        return list(
            await session.scalars(
                select(models.ChildTask)
                .join(
                    models.Conversation,
                    models.Conversation.id == models.ChildTask.conversation_id,
                )
                .order_by(models.Conversation.depth)
            )
        )


async def turns(person: Person) -> list[tuple[str, bool]]:
    """(state, whether a stop is recorded) of each turn, the chat's first."""
    async with person.stores.database.read() as session:
        rows = await session.execute(
            select(models.Turn.state, models.Turn.stop_requested_at)
            .join(models.Conversation, models.Conversation.id == models.Turn.conversation_id)
            .order_by(models.Conversation.depth)
        )
        return [(state, at is not None) for state, at in rows]


async def test_stop_reaches_grandchildren_with_all_workers_dead(ada: Person) -> None:
    worker = await grown(ada)
    await ada.says("/stop")
    assert await turns(ada) == [("stopped", True), ("stopped", True), ("running", True)]
    assert [task.state for task in await tasks(ada)] == ["stopped", "stopped"]
    [(kind, text)] = await ada.outbox()
    assert (kind, text) == (
        "notice",
        "Stopped after less than a second: 2 agents, calls: 0 done, 0 undone, 1 unknown. "
        "Unknown: pay.",
    )
    leaf = (await tasks(ada))[1].conversation_id
    assert ada.doorbell.stopped == [leaf]
    PAID.clear()
    await worker.work()  # a worker is back, and hears of it
    assert await turns(ada) == [("stopped", True)] * 3
    assert PAID == [] and len(await ada.outbox()) == 1


async def test_an_agent_that_only_thinks_is_stopped_in_the_same_transaction(ada: Person) -> None:
    worker = InProcessWorker(ada, TOP)
    worker.model.lines = {TOP.instructions: [[("middle", TASK)]]}
    await ada.says("Go.")
    await worker.run_session(await ada.conversation_id())
    [task] = await tasks(ada)
    turn = await ada.stores.turns.begin(task.conversation_id)
    assert isinstance(turn, TurnRecord)
    await ada.says("/stop")
    assert await turns(ada) == [("stopped", True), ("stopped", True)]
    assert ada.doorbell.stopped == [task.conversation_id]  # what its worker computes ends, too
    with pytest.raises(TurnOver):
        await ada.agent_says(turn, 1, "Too late.")


async def test_new_and_the_console_stop_the_whole_tree(ada: Person) -> None:
    await grown(ada)
    await ada.says("/new")
    assert [task.state for task in await tasks(ada)] == ["stopped", "stopped"]
    assert (await turns(ada))[:2] == [("stopped", True), ("stopped", True)]


async def test_bulk_stop_counts_each_turn_once(ada: Person) -> None:
    await grown(ada)
    done = await stop_running(ada.stores, ada.intake, "olga", "")
    assert [task.state for task in await tasks(ada)] == ["stopped", "stopped"]
    assert done.stopped >= 1 and len(await ada.outbox()) == 1


async def test_stop_reaches_agents_that_outlived_their_turn(ada: Person) -> None:
    worker = InProcessWorker(ada, TOP)
    worker.model.lines = {TOP.instructions: [[("go", TASK)], "Begun."]}
    await ada.says("Go.")
    await worker.run_session(await ada.conversation_id())
    await ada.says("stop")
    assert [task.state for task in await tasks(ada)] == ["stopped"]
    assert (await ada.outbox())[1:] == [
        ("notice", "Stopped: the answer was not sent. Stopped 1 agent.")
    ]
    await worker.work()
    assert worker.model.of(LEAF) == []


async def test_stop_of_one_leaves_the_others(ada: Person) -> None:
    worker = InProcessWorker(ada, TOP)
    worker.model.lines = {
        TOP.instructions: [[("middle", TASK), ("go", TASK)], "One was stopped."],
        MIDDLE.instructions: [[("leaf", TASK)]],
    }
    await ada.says("Go.")
    await worker.run_session(await ada.conversation_id())
    middle = next(task for task in await tasks(ada) if task.agent == "middle")
    await worker.run_session(middle.conversation_id)
    await ada.intake.request_stop(middle.conversation_id, "olga")
    ends = {(task.agent, task.is_waited): task.state for task in await tasks(ada)}
    assert ends == {
        ("middle", True): "stopped",
        ("leaf", True): "stopped",
        ("leaf", False): "running",
    }


async def test_agent_without_progress_is_stopped_with_what_it_had(
    ada: Person, clock: HandClock
) -> None:
    worker = InProcessWorker(ada, TOP)
    worker.model.lines = {TOP.instructions: [[("middle", TASK)], "It got stuck."]}
    await ada.says("Go.")
    await worker.run_session(await ada.conversation_id())
    [task] = await tasks(ada)
    turn = await ada.stores.turns.begin(task.conversation_id)
    assert turn is not None
    async with ada.stores.database.write() as session:
        await session.execute(
            update(models.RunProgress)
            .where(models.RunProgress.conversation_id == task.conversation_id)
            .values(phase="answering", text="Half of it")
        )
    source = StalledAgents(ada.stores.database)
    due = await source.next_due()
    assert due is not None and abs(due - clock() - NO_PROGRESS_S) < 1
    clock.advance(NO_PROGRESS_S - 1)
    await source.fire(clock(), 50)
    assert (await turns(ada))[1] == ("running", False)
    ticks = 0.0
    ada.stores.database.passed = Passed(clock, lambda: ticks)
    source = StalledAgents(ada.stores.database)
    clock.advance(86_400.0)  # somebody sets the clock
    await source.fire(clock(), 50)
    assert (await turns(ada))[1] == ("running", False)
    due = await source.next_due()
    assert due is not None and abs(due - clock() - 1) < 0.1
    clock.advance(2)
    ticks = 2.0
    await source.fire(clock(), 50)
    await source.fire(clock(), 50)  # a second clock finds nothing to do
    await worker.work()
    assert await ada.outbox() == [("answer", "It got stuck.")]
    told = str(worker.model.of(TOP)[-1].messages[-1]["content"])
    assert "because it made no progress" in told and told.endswith("\nHalf of it")
    assert await source.next_due() is None
