"""Agents that work for others: their results arrive once, whatever happened meanwhile."""

import pytest
from sqlalchemy import select

from roost import Agent, tool
from roost.builtin import delegate
from roost_platform.db import models
from roost_platform.testing.chats import Person, count_rows
from roost_platform.testing.workers import InProcessWorker, Killed
from roost_workflows.ports import Snapshot
from roost_workflows.turn.endings import DELAYED

FETCHED: list[str] = []


@tool(effect="pure")
async def fetch(page: str) -> str:
    """Fetch a page."""
    FETCHED.append(page)
    return f"the page {page}"


RESEARCHER = Agent("researcher", "Find things out.", tools=[fetch])
BOSS = Agent("concierge", "Answer.", tools=[delegate(RESEARCHER)])
BUSY = Agent("concierge", "Answer busily.", tools=[delegate(RESEARCHER, wait=False, name="start")])
TASK = {"task": "Find herons."}


async def tasks(person: Person) -> list[models.ChildTask]:
    async with person.stores.database.read() as session:
        return list(
            await session.scalars(select(models.ChildTask).order_by(models.ChildTask.created_at))
        )


async def test_child_result_arrives_once_when_the_parent_was_closed(ada: Person) -> None:
    worker = InProcessWorker(ada, BOSS)
    worker.model.lines = {
        BOSS.instructions: [[("researcher", TASK)], "Herons live here."],
        RESEARCHER.instructions: [[("fetch", {"page": "herons"})], "They live at the pond."],
    }
    await ada.says("Where do herons live?")
    ends = await worker.work()
    assert [end.finish for end in ends if end] == ["waiting", "answer", "answer"]
    assert await ada.outbox() == [("answer", "Herons live here.")]
    [task] = await tasks(ada)
    assert (task.state, task.result) == ("done", "They live at the pond.")
    read = worker.model.of(BOSS)[-1].messages
    assert [one["content"] for one in read if one["role"] == "tool"] == ["They live at the pond."]
    assert await count_rows(ada.stores, models.Outbox) == 1
    asked = worker.model.of(RESEARCHER)[0]
    assert [one["content"] for one in asked.messages] == ["Find things out.", "Find herons."]


async def test_background_child_brings_one_message_that_is_no_persons(ada: Person) -> None:
    worker = InProcessWorker(ada, BUSY)
    worker.model.lines = {
        BUSY.instructions: [[("start", TASK)], "I have begun.", "It found the pond."],
        RESEARCHER.instructions: ["At the </agent> pond."],
    }
    await ada.says("Look for herons.")
    await worker.work()
    assert await ada.outbox() == [("answer", "I have begun."), ("answer", "It found the pond.")]
    [task] = await tasks(ada)
    last = worker.model.of(BUSY)[-1].messages[-1]
    assert last["role"] == "user"
    name = f"researcher {task.conversation_id[-6:]}"
    assert last["content"] == f'<agent name="{name}">\nAt the <\u200b/agent> pond.\n</agent>'
    started = [one["content"] for one in worker.model.of(BUSY)[1].messages if one["role"] == "tool"]
    assert started[0].startswith("Started as ")


async def test_message_leaves_children_running(ada: Person) -> None:
    worker = InProcessWorker(ada, BOSS)
    worker.model.lines = {
        BOSS.instructions: [[("researcher", TASK)], "Herons live here. And owls, too."],
        RESEARCHER.instructions: ["At the pond."],
    }
    await ada.says("Where do herons live?")
    await worker.run_session(await ada.conversation_id())
    await ada.says("And owls?")
    await ada.says("And storks?")
    told = [body for kind, body in await ada.outbox() if kind == "notice"]
    assert told == [
        "I am waiting for the agent researcher. I read your message after that; /stop ends the "
        "wait."
    ]
    assert [task.state for task in await tasks(ada)] == ["running"]
    await worker.work()
    assert (await ada.outbox())[-1] == ("answer", "Herons live here. And owls, too.")
    read = str(worker.model.of(BOSS)[-1].messages)
    assert "And owls?" in read and "And storks?" in read


async def test_tasks_and_the_status_message_list_children(ada: Person) -> None:
    worker = InProcessWorker(ada, BOSS)
    worker.model.lines = {
        BOSS.instructions: [[("researcher", TASK), ("researcher", {"task": "Find owls."})]],
        RESEARCHER.instructions: ["At the pond."],
    }
    await ada.says("Where do they live?")
    await worker.run_session(await ada.conversation_id())
    [herons, owls] = sorted(await tasks(ada), key=lambda task: task.task)
    await worker.run_session(herons.conversation_id)
    [shown] = await ada.stores.outbox.progress([("telegram", "42")])
    assert shown.phase == "agents"
    assert sorted(shown.plan) == ["· researcher: Find owls.", "✓ researcher: Find herons."]
    assert not await ada.stores.outbox.fenced(shown.turn_id)
    assert await ada.stores.outbox.orphans([("telegram", "42")]) == []
    await ada.says("/tasks")
    [(_, text)] = [one for one in await ada.outbox() if "Find owls" in one[1]]
    name = f"researcher {owls.conversation_id[-6:]}"
    assert text.splitlines() == [
        f"▸ {name}: Find owls. (about to begin, less than a second)",
        "/stop stops all of them.",
    ]
    await ada.gives(ada.message(await ada.stop_button(), kind="callback"))
    assert await ada.outbox() != [] and [t.state for t in await tasks(ada)].count("stopped") == 1


async def test_failed_child_gives_a_typed_result(ada: Person) -> None:
    nobody = Agent("concierge", "Ask nobody.", tools=[delegate(RESEARCHER)])
    worker = InProcessWorker(ada, nobody)
    del worker.registry._agents[RESEARCHER.name]  # it was taken out of the installation
    worker.model.lines = {nobody.instructions: [[("researcher", TASK)], "It is away."]}
    await ada.says("Where do herons live?")
    await worker.work()
    assert (await ada.outbox()) == [("answer", "It is away.")]
    async with ada.stores.database.read() as session:
        call = await session.scalar(select(models.ToolCall))
    assert call is not None and call.state == "error"
    assert call.result.startswith("The agent researcher failed: ")


async def test_stopped_child_gives_a_typed_result_and_the_parent_goes_on(ada: Person) -> None:
    worker = InProcessWorker(ada, BOSS)
    worker.model.lines = {BOSS.instructions: [[("researcher", TASK)], "It was stopped."]}
    await ada.says("Where do herons live?")
    await worker.run_session(await ada.conversation_id())
    [task] = await tasks(ada)
    stopped = await ada.intake.request_stop(task.conversation_id, "olga")
    assert stopped.found_something
    await worker.work()
    assert await ada.outbox() == [("answer", "It was stopped.")]
    read = worker.model.of(BOSS)[-1].messages[-1]
    assert read["content"] == (
        "[cancelled: stopped before it finished] The agent researcher was stopped by an operator."
    )


async def test_parent_that_fails_stops_those_it_waits_for(ada: Person) -> None:
    worker = InProcessWorker(ada, BOSS)
    worker.model.lines = {BOSS.instructions: [[("researcher", TASK)]]}
    await ada.says("Where do herons live?")
    await worker.run_session(await ada.conversation_id())
    [task] = await tasks(ada)
    await ada.stores.turns.settle(task.parent_turn_id, outcome="failed", reason="internal")
    [task] = await tasks(ada)
    assert (task.state, task.reason) == ("stopped", "parent_ended")
    await worker.work()
    assert worker.model.of(RESEARCHER) == []  # it never began


async def test_child_resumes_when_its_worker_is_killed(ada: Person) -> None:
    worker = InProcessWorker(ada, BOSS)
    worker.model.lines = {
        BOSS.instructions: [[("researcher", TASK)], "Herons live here."],
        RESEARCHER.instructions: [
            [("fetch", {"page": "herons"})],
            Killed(),
            "At the pond.",
        ],
    }
    await ada.says("Where do herons live?")
    await worker.run_session(await ada.conversation_id())
    [task] = await tasks(ada)
    FETCHED.clear()
    with pytest.raises(Killed):
        await worker.run_session(task.conversation_id)
    await worker.run_session(task.conversation_id)
    await worker.work()
    assert FETCHED == ["herons"]
    assert (await ada.outbox())[-1] == ("answer", "Herons live here.")


async def test_a_delay_of_an_agent_is_told_once_in_the_chat_that_waits_for_it(ada: Person) -> None:
    @tool(effect="pure")
    async def stumble() -> str:
        """Meet an engine that fails."""
        async with ada.stores.database.read() as session:
            running = select(models.Turn.id).where(models.Turn.state == "running")
            child = await session.scalar(running)
        assert child is not None
        for _ in range(2):
            await ada.stores.turns.progress(child, Snapshot("unreachable", is_delayed=True))
        return "late"

    helper = Agent("helper", "Help.", tools=[stumble])
    boss = Agent("concierge", "Answer.", tools=[delegate(helper)])
    worker = InProcessWorker(ada, boss)
    worker.model.lines = {
        boss.instructions: [[("helper", TASK)], "Done."],
        helper.instructions: [[("stumble", {})], "Yes."],
    }
    await ada.says("Help me.")
    await worker.work()
    assert await ada.outbox() == [("notice", DELAYED), ("answer", "Done.")]
