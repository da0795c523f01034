"""Flows that work for flows: what they are given, what they answer, and who reads it."""

import pytest
from sqlalchemy import func, select

from roost import FlowContext, flow
from roost.errors import DefinitionError, SpawnFailed
from roost.flow import Flow
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
