"""How many agents may work, what they may use together, and answers in a schema."""

import pytest
from pydantic import BaseModel
from sqlalchemy import select, update

from roost import Agent, tool
from roost.builtin import delegate
from roost_platform.db import models
from roost_platform.db.turns.children.budgets import STEPS_MAX, TOKENS_MAX
from roost_platform.db.turns.children.limits import LIVE_OF_PARENT_MAX, OF_ROOT_MAX
from roost_platform.testing.chats import Person, count_rows
from roost_platform.testing.workers import InProcessWorker


class Found(BaseModel):
    place: str
    count: int


@tool(effect="pure")
async def look() -> str:
    """Look around."""
    return "a heron"


COUNTER = Agent("counter", "Count birds.", tools=[look])
WANTED = Agent("concierge", "Want counts.", tools=[delegate(COUNTER, schema=Found)])
DEEP = Agent("concierge", "Go deep.", tools=[delegate(context="brief", wait=False)])
SHORT = Agent("concierge", "Keep it short.", tools=[delegate(COUNTER, max_steps=2)])


async def results(person: Person) -> list[tuple[str, str]]:
    """(state, result) of the calls in the chat, in order."""
    async with person.stores.database.read() as session:
        rows = await session.execute(
            select(models.ToolCall.state, models.ToolCall.result)
            .join(models.Turn, models.Turn.id == models.ToolCall.turn_id)
            .where(models.Turn.conversation_id == await person.conversation_id())
            .order_by(models.ToolCall.step, models.ToolCall.position)
        )
        return [(state, result) for state, result in rows]


@pytest.mark.parametrize("wrong", [1, 2])
async def test_schema_wrong_twice_gives_raw_text(ada: Person, wrong: int) -> None:
    worker = InProcessWorker(ada, WANTED)
    good = '{"place": "pond", "count": 3}'
    lines = [*["three at the pond", '{"place": "pond"}'][:wrong], good]
    worker.model.lines = {
        WANTED.instructions: [[("counter", {"task": "Count."})], "So many."],
        COUNTER.instructions: list(lines),
    }
    await ada.says("How many?")
    await worker.work()
    [(state, result)] = await results(ada)
    async with ada.stores.database.read() as session:
        task = await session.scalar(select(models.ChildTask))
    assert task is not None and state == "ok"
    if wrong == 1:
        assert (task.schema_valid, result) == (True, good)
    else:
        assert task.schema_valid is False
        assert result.endswith('\n{"place": "pond"}') and "schema_valid=false" in result
    asked = worker.model.of(COUNTER)
    assert asked[0].extra["response_format"]["json_schema"]["schema"]["required"] == [
        "place",
        "count",
    ]
    assert "does not fit the schema: it is not JSON" in str(asked[1].messages[-1]["content"])


async def test_children_beyond_the_bounds_are_refused_in_words(ada: Person) -> None:
    worker = InProcessWorker(ada, DEEP)
    many = [("delegate", {"task": f"Part {n}."}) for n in range(LIVE_OF_PARENT_MAX + 1)]
    worker.model.lines = {DEEP.instructions: [many, "Begun."]}
    await ada.says("Go.")
    await worker.run_session(await ada.conversation_id())
    refused = [text for state, text in await results(ada) if state == "error"]
    assert refused == [
        "Not started: 5 agents work for this conversation already. Wait for one of them."
    ]


async def test_one_turn_of_a_chat_starts_twenty_agents_at_most(ada: Person) -> None:
    leader = Agent("concierge", "Lead.", tools=[delegate(COUNTER)])
    worker = InProcessWorker(ada, leader)
    five = [("counter", {"task": f"Count {n}."}) for n in range(LIVE_OF_PARENT_MAX)]
    rounds = OF_ROOT_MAX // LIVE_OF_PARENT_MAX
    worker.model.lines = {leader.instructions: [*[five] * rounds, five[:1], "So many."]}
    await ada.says("Count everything.")
    await worker.work()
    ended = [state for state, _ in await results(ada)]
    assert ended == ["ok"] * OF_ROOT_MAX + ["error"]
    assert (await results(ada))[-1][1].startswith("Not started: what agents may use together")
    assert await count_rows(ada.stores, models.ChildTask) == OF_ROOT_MAX


async def test_twenty_agents_of_all_floors_work_at_once_at_most(ada: Person) -> None:
    middle = Agent("middle", "Pass on.", tools=[delegate(COUNTER)])
    top = Agent("concierge", "Lead.", tools=[delegate(middle)])
    worker = InProcessWorker(ada, top)
    five = [("middle", {"task": f"Count {n}."}) for n in range(LIVE_OF_PARENT_MAX)]
    four = [("counter", {"task": f"Count {n}."}) for n in range(LIVE_OF_PARENT_MAX - 1)]
    worker.model.lines = {top.instructions: [five], middle.instructions: [four] * len(five)}
    await ada.says("Count everything.")
    await worker.run_session(await ada.conversation_id())
    async with ada.stores.database.read() as session:
        middles = list(await session.scalars(select(models.ChildTask.conversation_id)))
    for conversation_id in middles:
        await worker.run_session(conversation_id)
    assert await count_rows(ada.stores, models.ChildTask) == OF_ROOT_MAX
    async with ada.stores.database.read() as session:
        refused = list(
            await session.scalars(
                select(models.ToolCall.result).where(models.ToolCall.state == "error")
            )
        )
    assert len(refused) == len(five) * len(four) - (OF_ROOT_MAX - len(five))
    assert all(text.startswith("Not started: 20 agents work") for text in refused)


async def test_the_agents_of_a_turn_use_two_million_tokens_at_most(ada: Person) -> None:
    leader = Agent("concierge", "Lead.", tools=[delegate(COUNTER)])
    worker = InProcessWorker(ada, leader)
    worker.model.lines = {
        leader.instructions: [*[[("counter", {"task": "Count."})]] * 2, "Enough."],
        COUNTER.instructions: [[("look", {})], "One heron."],
    }
    await ada.says("How many?")
    await worker.run_session(await ada.conversation_id())
    async with ada.stores.database.write() as session:
        await session.execute(update(models.Budget).values(tokens=TOKENS_MAX - 1))
    await worker.work()
    asked = worker.model.of(COUNTER)
    assert [one.extra.get("tool_choice") for one in asked] == [None, "none"]
    assert [state for state, _ in await results(ada)] == ["ok", "error"]
    assert (await results(ada))[-1][1].startswith("Not started: what agents may use together")


async def test_no_agent_two_floors_down_gives_tasks(ada: Person) -> None:
    worker = InProcessWorker(ada, DEEP)
    one = [("delegate", {"task": "Deeper."})]
    worker.model.lines = {DEEP.instructions: [one, "a", one, "b", one, "c"]}
    await ada.says("Go.")
    await worker.work()
    async with ada.stores.database.read() as session:
        depths = list(
            await session.scalars(
                select(models.Conversation.depth).order_by(models.Conversation.depth)
            )
        )
        refused = await session.scalar(
            select(models.ToolCall.result).where(models.ToolCall.state == "error")
        )
    assert depths == [0, 1, 2]
    assert refused is not None and refused.startswith("Not started: an agent this far down")


async def test_spent_budget_takes_the_tools_and_is_told(ada: Person) -> None:
    plain = Agent("concierge", "Ask.", tools=[delegate(COUNTER)])
    worker = InProcessWorker(ada, plain)
    worker.model.lines = {
        plain.instructions: [[("counter", {"task": "Count."})], "Enough."],
        COUNTER.instructions: [[("look", {})], "One heron."],
    }
    await ada.says("How many?")
    await worker.run_session(await ada.conversation_id())
    async with ada.stores.database.write() as session:
        await session.execute(update(models.Budget).values(steps=STEPS_MAX - 1))
    await worker.work()
    asked = worker.model.of(COUNTER)
    assert [one.extra.get("tool_choice") for one in asked] == [None, "none"]
    async with ada.stores.database.read() as session:
        budget = await session.scalar(select(models.Budget))
        turn = await session.scalar(select(models.Turn).where(models.Turn.agent == "counter"))
    assert budget is not None and turn is not None
    assert (budget.steps, budget.tokens, budget.children) == (STEPS_MAX + 1, 220, 1)
    assert turn.reason_code == "budget_spent"


async def test_limit_of_one_child_counts_its_last_call(ada: Person) -> None:
    worker = InProcessWorker(ada, SHORT)
    worker.model.lines = {
        SHORT.instructions: [[("counter", {"task": "Count."})], "Enough."],
        COUNTER.instructions: [[("look", {})], "One heron."],
    }
    await ada.says("How many?")
    await worker.work()
    asked = worker.model.of(COUNTER)
    assert [one.extra.get("tool_choice") for one in asked] == [None, "none"]


async def test_late_answer_of_a_childs_child_reaches_the_chat(ada: Person) -> None:
    middle = Agent("middle", "Pass on.", tools=[delegate(COUNTER, wait=False)])
    top = Agent("concierge", "Ask the middle.", tools=[delegate(middle)])
    worker = InProcessWorker(ada, top)
    worker.model.lines = {
        top.instructions: [[("middle", {"task": "Count."})], "Later.", "It was three."],
        middle.instructions: [[("counter", {"task": "Count."})], "Started."],
        COUNTER.instructions: ["Three."],
    }
    await ada.says("How many?")
    root = await ada.conversation_id()
    await worker.run_session(root)
    async with ada.stores.database.read() as session:
        child = await session.scalar(select(models.ChildTask.conversation_id))
    assert child is not None
    await worker.run_session(child)
    await worker.run_session(root)
    await worker.work()
    assert [text for _, text in await ada.outbox()] == ["Later.", "It was three."]
