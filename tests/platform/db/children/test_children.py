"""Agents that work for others: their results arrive once, whatever happened meanwhile."""

from sqlalchemy import select

from roost import Agent, tool
from roost.builtin import delegate
from roost_platform.db import models
from roost_platform.testing.chats import Person, count_rows
from roost_platform.testing.workers import InProcessWorker

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
