"""What people see while a flow's model writes, and what is kept of each of its model calls."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from pydantic import BaseModel
from sqlalchemy import select

from roost import Agent, FlowContext, ModelSettings, flow
from roost.flows.journal import arguments_hash
from roost_inference.client.assembly import Completed, Delta
from roost_inference.client.engine_client import ChatRequest
from roost_platform.db import models
from roost_platform.testing.flow_world import FlowWorld
from roost_platform.testing.workers import ScriptedModel
from roost_platform.views.workflows.flows.flows import flow_view
from roost_workflows.definitions.versions import sha256, version_of
from roost_workflows.ports import Snapshot

WORDS = ("The ", "train ", "leaves ", "at nine.")
writer = Agent("writer", "You write.", model=ModelSettings(temperature=0.3, max_tokens=90))


class Day(BaseModel):
    name: str


class Slow(ScriptedModel):
    """An engine that writes word by word, each once the one before was shown."""

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Completed, None]:
        self.asked.append(request)
        words = str(self.texts.pop(0)).split("|")
        for word in words:
            yield Delta(word)
            await asyncio.sleep(0.25)
        text = "".join(words)
        yield Completed(text, (), "stop", "m", "id", 7, 0, 3)


async def shown_while(world: FlowWorld) -> list[tuple[str, str]]:
    """The phases and texts that the progress row had while the flow went on."""
    seen: list[tuple[str, str]] = []
    working = asyncio.create_task(world.goes_on())
    while not working.done():
        await asyncio.wait({working}, timeout=0.05)
        async with world.stores.database.read() as session:
            row = await session.scalar(
                select(models.RunProgress).order_by(models.RunProgress.updated_at.desc()).limit(1)
            )
        if row is not None and (not seen or seen[-1] != (row.phase, row.text)):
            seen.append((row.phase, row.text))
    await working
    return seen


@pytest.fixture
def slow(world: FlowWorld) -> FlowWorld:
    world.engine = Slow()
    return world


async def test_generated_text_is_shown_as_it_is_written(slow: FlowWorld) -> None:
    @flow
    async def tells(ctx: FlowContext, message: str) -> str:
        return str(await ctx.generate("When?", agent=writer))

    slow.installs(tells)
    slow.engine.texts = ["|".join(WORDS)]
    await slow.says("when does it leave?")
    texts = [text for phase, text in await shown_while(slow) if phase == "answering"]
    assert len(texts) >= 2 and texts == sorted(texts, key=len)
    assert all("".join(WORDS).startswith(text) for text in texts)
    assert await slow.last_text() == "".join(WORDS)


async def test_json_for_the_function_is_not_shown_to_people(slow: FlowWorld) -> None:
    @flow
    async def picks(ctx: FlowContext, message: str) -> str:
        return str((await ctx.generate("Which day?", schema=Day)).name)

    slow.installs(picks)
    slow.engine.texts = ['{"name":| "Monday"}']
    await slow.says("which day?")
    assert {text for _, text in await shown_while(slow)} == {""}
    assert await slow.last_text() == "Monday"


async def test_of_texts_written_side_by_side_people_read_one(slow: FlowWorld) -> None:
    @flow
    async def both(ctx: FlowContext, message: str) -> str:
        return " ".join(await ctx.gather(ctx.generate("One?"), ctx.generate("Two?")))

    slow.installs(both)
    slow.engine.texts = ["a|b|c|d", "1|2|3|4"]
    await slow.says("go")
    texts = {text for _, text in await shown_while(slow) if text}
    assert texts and (all("abcd".startswith(t) for t in texts) or
                      all("1234".startswith(t) for t in texts))  # fmt: skip


async def test_a_stop_keeps_what_the_model_of_a_flow_had_written(slow: FlowWorld) -> None:
    @flow
    async def tells(ctx: FlowContext, message: str) -> str:
        return str(await ctx.generate("When?"))

    slow.installs(tells)
    await slow.says("when?")
    turn = await slow.ada.turn()
    await slow.stores.turns.progress(turn.turn_id, Snapshot("answering", "The train"))
    await slow.ada.says("/stop")
    await slow.stores.turns.settle(turn.turn_id, outcome="stopped", reason="stopped")
    assert (await slow.last_text()).startswith("The train\n\nStopped")


async def test_each_model_call_of_a_flow_keeps_a_manifest_of_what_the_engine_got(
    world: FlowWorld,
) -> None:
    @flow
    async def twice(ctx: FlowContext, message: str) -> str:
        first = await ctx.generate("Name a day.", agent=writer)
        return str((await ctx.generate("Which?", schema=Day, day=first)).name)

    world.installs(twice)
    world.engine.texts = ["Monday", "no json", '{"name": "Monday"}']
    await world.says("go")
    await world.goes_on()
    assert await world.last_text() == "Monday"
    journal = await world.journal()
    async with world.stores.database.read() as session:
        view = await flow_view(session, (await world.turn()).id, world.clock.now)
        hidden = await flow_view(
            session, (await world.turn()).id, world.clock.now, with_texts=False
        )
    assert view is not None and hidden is not None
    for entry, row, request, tries in zip(
        view.entries, journal, (world.engine.asked[0], world.engine.asked[2]), (1, 2),
        strict=True,
    ):  # fmt: skip
        assert entry.manifest is not None
        assert entry.manifest["prompt_hash"] == sha256(request.messages)
        assert entry.manifest["args_hash"] == arguments_hash(row.arguments)
        assert (entry.manifest["flow"], entry.manifest["tries"]) == (entry.path, tries)
        assert entry.manifest["code_hash"] == twice.code_hash
        assert entry.manifest["model"] == "m"
    first, second = (one.manifest for one in view.entries)
    assert first is not None and second is not None
    assert first["agent_hash"] == version_of(writer).digest and second["agent_hash"] == ""
    assert first["sampling"] == {"temperature": 0.3, "max_tokens": 90}
    assert "response_format" in second["sampling"]
    assert [one.manifest for one in hidden.entries] == [None, None]


async def test_a_flow_s_model_call_says_whose_it_is_and_which_model_it_wants(
    world: FlowWorld,
) -> None:
    guide = Agent("guide", "You lead.", model="fast")

    @flow
    async def tour(ctx: FlowContext, message: str) -> str:
        """Lead a tour."""
        first = await ctx.generate("Begin.", agent=guide)
        return f"{first} {await ctx.generate('End.')}"

    world.installs(tour)
    world.engine.texts = ["Here", "there"]
    await world.says("a tour")
    await world.goes_on()
    assert await world.last_text() == "Here there"
    begin, end = world.engine.asked
    assert [(one.model, one.agent) for one in (begin, end)] == [("fast", "guide"), ("", "tour")]
    turn = await world.turn()
    assert begin.session == end.session and begin.session_id is None
    assert begin.person == end.person != "" and turn.agent == "tour"
