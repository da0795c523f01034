"""Flows that work for flows: what they are given, what they answer, and who reads it."""

import pytest
from sqlalchemy import func, select

from roost import Agent, FlowContext, flow
from roost.errors import DefinitionError, SpawnFailed
from roost.flow import Flow
from roost.testing import run_flow
from roost.waits import Spawn
from roost_platform.db import models
from roost_platform.testing.flow_world import FlowWorld
from roost_workflows.testing.sessions import Session

ROUNDS = 6  # enough for a flow that begins itself again and again to show it


@flow
async def doubled(ctx: FlowContext, n: int) -> int:
    """Double a number."""
    return n * 2


@flow
async def echo(ctx: FlowContext, message: str) -> str:
    """Say it again."""
    return f"echo: {message}"


async def work(world: FlowWorld, boss: Flow) -> None:
    world.installs(boss, doubled, echo)
    await rounds(world)


async def rounds(world: FlowWorld) -> None:
    await world.says("go")
    for _ in range(ROUNDS):
        async with world.stores.database.read() as session:
            ids = (await session.scalars(select(models.Conversation.id))).all()
        for id in ids:
            await Session(world.activities, id).run()


async def test_a_flow_that_is_spawned_with_a_schema_gets_its_task_alone(world: FlowWorld) -> None:
    @flow
    async def boss(ctx: FlowContext, message: str) -> str:
        eight = await ctx.spawn(doubled, '{"n": 4}', schema=int)
        return f"{eight + 1} {await ctx.spawn(echo, 'hi')}"

    await work(world, boss)
    assert await world.last_text() == "9 echo: hi"


async def test_an_answer_of_a_flow_that_does_not_fit_is_an_error_at_once(world: FlowWorld) -> None:
    @flow
    async def boss(ctx: FlowContext, message: str) -> str:
        try:
            return str(await ctx.spawn(echo, "hi", schema=int))
        except SpawnFailed as error:
            return str(error)

    await work(world, boss)
    assert "echo: its answer does not fit" in await world.last_text()


async def test_a_task_that_is_not_the_flows_input_is_no_answer(world: FlowWorld) -> None:
    @flow
    async def boss(ctx: FlowContext, message: str) -> str:
        try:
            return str(await ctx.spawn(doubled, "four"))
        except SpawnFailed as error:
            return f"caught: {error}"

    await work(world, boss)
    text = await world.last_text()
    assert text.startswith("caught: ") and "not the input that it takes" in text
    async with world.stores.database.read() as session:
        failed = await session.scalar(
            select(models.Turn).where(models.Turn.reason_code == "flow_input")
        )
        assert failed is not None and 'Send its input as JSON: {"n": "integer"}' in failed.error


async def test_an_answer_in_the_background_begins_no_flow_anew(world: FlowWorld) -> None:
    @flow
    async def boss(ctx: FlowContext, message: str) -> str:
        await ctx.spawn(echo, "hi", wait=False)
        return "begun"

    await work(world, boss)
    async with world.stores.database.read() as session:
        assert await session.scalar(select(func.count()).select_from(models.Turn)) == 2
        [task] = await session.scalars(select(models.ChildTask))
    name = f"echo {task.conversation_id[-6:]}"
    assert await world.ada.outbox() == [("answer", "begun"), ("answer", f"{name}:\n\necho: hi")]


@pytest.mark.parametrize("limit", ["max_tokens", "max_steps"])
@pytest.mark.parametrize("most", [0, -5, "many", True, 1.5])
def test_a_budget_that_is_none_is_refused(limit: str, most: object) -> None:
    with pytest.raises(DefinitionError, match=limit):
        Spawn("echo", "hi", **{limit: most})  # type: ignore[arg-type]


@flow
async def silent(ctx: FlowContext, message: str) -> str:
    """Say nothing."""
    return " "


quiet = Agent("quiet", "You say nothing.")


@flow
async def hears_nothing(ctx: FlowContext, message: str) -> str:
    """Give tasks to those who have no answer, and one for whose answer nobody waits."""
    await ctx.spawn(quiet, "Say it later.", wait=False)
    said = []
    for one in (silent, quiet):
        try:
            said.append(await ctx.spawn(one, "Say it."))
        except SpawnFailed as error:
            said.append(str(error))
    return "|".join(said)


NOTHING = "silent: It ended without an answer.|quiet: It ended without an answer."


async def test_no_answer_of_an_agent_is_no_answer_in_words_for_people(world: FlowWorld) -> None:
    world.engine.lines = {quiet.instructions: [" "] * 4}
    world.installs(hears_nothing, silent, quiet)
    await rounds(world)
    texts = [text for _, text in await world.ada.outbox()]
    assert NOTHING in texts
    assert [text for text in texts if text.endswith(":\n\nIt ended without an answer.")]


async def test_a_run_of_a_test_says_the_same_of_agents_without_an_answer() -> None:
    run = await run_flow(hears_nothing, "go", children={"silent": "", "quiet": lambda _: " "})
    assert (run.state, run.text) == ("done", NOTHING)
    begun = await run_flow(hears_nothing, "go")
    assert (begun.state, [entry.state for entry in begun.journal]) == ("waiting", ["ok", "waiting"])
