"""Edits of what a flow has read."""

from dataclasses import replace

import pytest
from sqlalchemy import select

from roost import FlowContext, flow
from roost_platform.db import models
from roost_platform.testing.flow_world import FlowWorld

TOO_LATE = "I go on with what you wrote first: the edit came too late."


@flow
async def greeting(ctx: FlowContext, message: str) -> str:
    """Greet."""
    town = await ctx.ask("Which town?")
    name = await ctx.ask("Your name?")
    return f"{message}: {name} of {town}"


async def edits(world: FlowWorld, before: str, text: str) -> None:
    """The person edits their newest message that reads so."""
    written = select(models.Inbox.message_id).where(models.Inbox.text == before)
    async with world.stores.database.read() as session:
        message_id = await session.scalar(written)
    edit = replace(world.ada.message(text, kind="edited"), message_id=str(message_id))
    await world.ada.gives(edit)


async def notices(world: FlowWorld) -> int:
    """How often the person was told."""
    return [text for _, text in await world.ada.outbox()].count(TOO_LATE)


@pytest.mark.parametrize("before", ["hello", "Rome"])
async def test_who_edits_what_a_flow_has_read_is_told_once(world: FlowWorld, before: str) -> None:
    world.installs(greeting)
    for words in ("hello", "Rome"):
        await world.says(words)
        await world.goes_on()
    for text in ("Paris", "Oslo"):
        await edits(world, before, text)
    assert await notices(world) == 1
    await world.says("Ada")
    await world.goes_on()
    assert await world.last_text() == "hello: Ada of Rome"


async def test_an_edit_after_the_flows_end_needs_no_word(world: FlowWorld) -> None:
    world.installs(greeting)
    for words in ("hello", "Rome", "Ada"):
        await world.says(words)
        await world.goes_on()
    await edits(world, "Rome", "Paris")
    assert await notices(world) == 0
