"""A flow's input, journal and answer go with the person, and with the time that they are kept."""

import io
import zipfile

import pytest
from sqlalchemy import select, update

from roost import Context, FlowContext, flow, tool
from roost_platform.db import models
from roost_platform.db.retention import DAY_S, Retention
from roost_platform.db.stores import Stores
from roost_platform.errors import NotAllowed
from roost_platform.privacy import deletion
from roost_platform.privacy.deletion import delete_person
from roost_platform.privacy.export import export_person
from roost_platform.testing.flow_world import FlowWorld

CANARIES = tuple(
    f"canary{number}{name}"
    for number, name in enumerate(
        ("input", "argument", "result", "error", "generated", "question", "answered", "final")
    )
)
INPUT, ARGUMENT, RESULT, ERROR, GENERATED, QUESTION, ANSWERED, FINAL = CANARIES
FLOWS = {"flows", "tool_calls", "turn_steps", "approvals", "transcript"}


@tool(effect="unsafe")
async def keep(ctx: Context, text: str) -> str:
    """Keep."""
    return f"{RESULT} {len(text)}"


@tool(effect="pure")
async def breaks(text: str) -> str:
    """Break."""
    raise ValueError(ERROR)


@flow
async def secretive(ctx: FlowContext, message: str) -> str:
    await ctx.call(keep, text=ARGUMENT)
    await ctx.gather(ctx.generate(f"Write about {message}."), ctx.sleep(1))
    if await ctx.ask(f"{QUESTION}?") == "break":
        await ctx.call(breaks, text="x")
    return FINAL


async def tables_with(stores: Stores, word: str) -> set[str]:
    """The tables in which a word stands in any column."""
    found = set()
    async with stores.database.read() as session:
        for table in models.Base.metadata.sorted_tables:
            rows = (await session.execute(select(table))).all()
            if any(word in str(tuple(row)) for row in rows):
                found.add(table.name)
    return found


async def live(world: FlowWorld) -> None:
    """One run that answers, one that fails and is tried again, and a fork of the first."""
    world.installs(secretive)
    world.engine.texts = [GENERATED] * 9
    ids = []
    for answer in (ANSWERED, "break"):
        await world.says(f"{INPUT} please")
        await world.goes_on()
        world.clock.advance(2)
        await world.sleeps_end()
        await world.goes_on()
        await world.answers(**{QUESTION: answer})
        await world.goes_on()
        ids.append((await world.turn()).id)
    await world.stores.operators.retry(ids[1], "olga")
    await world.goes_on()
    await world.stores.operators.fork(ids[0], 4, "olga")
    await world.goes_on()
    await world.answers(**{QUESTION: ANSWERED})
    await world.goes_on()
    assert (await world.turn()).state == "done"


async def test_an_export_has_the_journals_of_flows_and_a_deletion_leaves_none(
    world: FlowWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "QUIET_WAIT_S", 0.5)
    await live(world)
    for word in CANARIES:
        assert await tables_with(world.stores, word), word
    async with world.stores.database.read() as session:
        person_id = await session.scalar(select(models.FlowRun.started_by))
    assert person_id
    exported = io.BytesIO()
    await export_person(world.stores, person_id, exported)
    with zipfile.ZipFile(exported) as archive:
        whole = "\n".join(archive.read(name).decode() for name in archive.namelist())
    assert [word for word in CANARIES if word not in whole] == []
    for word in ("forked_from", "run_key", "retries", "args_hash"):
        assert word in whole, word
    await delete_person(world.stores, world.ada.intake, person_id, "Grace")
    for word in CANARIES:
        assert await tables_with(world.stores, word) == set(), word
    async with world.stores.database.read() as session:
        assert (await session.scalars(select(models.FlowRun))).all() == []


async def test_flows_that_are_kept_long_enough_go_with_their_whole_journal(
    world: FlowWorld,
) -> None:
    await live(world)
    async with world.stores.database.write() as session:
        await session.execute(
            update(models.Outbox)
            .where(models.Outbox.state == "pending")
            .values(state="sent", finished_at=world.clock.now)
        )
        first = await session.scalar(select(models.FlowRun.turn_id))
    assert first is not None
    world.clock.advance(29 * DAY_S)
    assert await Retention(world.stores.database, 30.0).sweep() == 0
    assert await tables_with(world.stores, first) >= {"flows", "tool_calls", "turn_steps"}
    world.clock.advance(2 * DAY_S)
    assert await Retention(world.stores.database, 30.0).sweep() > 0
    for word in CANARIES:
        assert await tables_with(world.stores, word) <= {"conversations"}, word
    async with world.stores.database.read() as session:
        for table in (models.FlowRun, models.ToolCall, models.TurnStep, models.Approval):
            assert (await session.scalars(select(table))).all() == []


async def test_a_flow_that_waits_is_kept_however_old_it_is(world: FlowWorld) -> None:
    world.installs(secretive)
    world.engine.texts = [GENERATED]
    await world.says(INPUT)
    await world.goes_on()
    world.clock.advance(400 * DAY_S)
    assert await Retention(world.stores.database, 30.0).sweep() == 0
    await world.sleeps_end()
    await world.goes_on()
    await world.answers(**{QUESTION: "go on"})
    await world.goes_on()
    assert await world.last_text() == FINAL
    with pytest.raises(NotAllowed):
        await world.stores.operators.retry((await world.turn()).id, "olga")
