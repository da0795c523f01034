"""Answers of agents that are too long for who reads them: kept whole as a file."""

import re

import pytest
from sqlalchemy import select

from roost import Agent
from roost.builtin import delegate
from roost_platform.db import models
from roost_platform.db.turns.children.ending import RESULT_CHARS_MAX
from roost_platform.testing.chats import Person, count_rows
from roost_platform.testing.workers import InProcessWorker

WHOLE = "".join(f"{number} herons stand at the pond. ü\n" for number in range(2_000)).strip()
RESEARCHER = Agent("researcher", "Find things out.")
TASK = {"task": "Find herons."}


@pytest.mark.parametrize("is_waited", [True, False])
async def test_a_long_answer_is_kept_whole_and_the_parent_can_read_it(
    ada: Person, is_waited: bool
) -> None:
    boss = Agent("concierge", "Answer.", tools=[delegate(RESEARCHER, wait=is_waited)])
    worker = InProcessWorker(ada, boss)
    worker.model.lines = {
        boss.instructions: [[("researcher", TASK)], "I look.", "Herons live here."],
        RESEARCHER.instructions: [WHOLE],
    }
    assert len(WHOLE) > RESULT_CHARS_MAX
    await ada.says("Where do herons live?")
    await worker.work()
    said = str(worker.model.of(boss)[-1].messages)
    found = re.search(r"(\d+) characters more; the whole answer is the file (\w+), which", said)
    assert found is not None and int(found[1]) == len(WHOLE) - RESULT_CHARS_MAX
    async with ada.stores.database.read() as session:
        turn_id = await session.scalar(
            select(models.Turn.id).where(models.Turn.conversation_id == await ada.conversation_id())
        )
    assert turn_id is not None
    assert (await ada.stores.artifacts.load(turn_id, found[2])).decode() == WHOLE
    kept = await ada.stores.artifacts.get(turn_id, found[2])
    assert kept is not None and (kept.state, kept.mime_type) == ("stored", "text/plain")
    assert kept.name.startswith("researcher ") and kept.name.endswith(".txt")
    assert await count_rows(ada.stores, models.Artifact) == 1
    assert all(row.attached is None for row in await artifacts(ada))  # it is for the agent


async def artifacts(person: Person) -> list[models.Artifact]:
    async with person.stores.database.read() as session:
        return list(await session.scalars(select(models.Artifact)))
