"""A flow is forked at a step: what came before is taken over, and no effect is repeated."""

import pytest
from sqlalchemy import func, select

from roost import Agent, Context, FlowContext, flow, tool
from roost_platform.db import models
from roost_platform.db.attempts.forking import Forked
from roost_platform.errors import NotAllowed, NotFound
from roost_platform.flows import fork_flow
from roost_platform.testing.flow_world import FlowWorld
from roost_platform.views.workflows.flows.flows import flow_view

RAN: list[str] = []


@tool(effect="unsafe")
async def mail(ctx: Context, text: str) -> str:
    """Send a mail."""
    RAN.append(f"mail {text}")
    return f"sent {text}"


@tool(effect="pure")
async def find(word: str) -> str:
    """Find."""
    RAN.append(f"find {word}")
    return f"found {word}"


@tool(effect="idempotent")
async def unsend(text: str) -> str:
    """Take a mail back."""
    RAN.append(f"unsend {text}")
    return "taken back"


helper = Agent("helper", "Help.")


@flow
async def letter(ctx: FlowContext, message: str) -> str:
    await ctx.call(find, word=message)
    await ctx.call(mail, text="first")
    day = await ctx.ask("Day?")
    await ctx.call(mail, text=f"on {day}")
    return f"{day} {ctx.key} {ctx.random() < 1}"


@pytest.fixture(autouse=True)
def ran(world: FlowWorld) -> None:
    RAN.clear()
    world.installs(letter)


async def finished(world: FlowWorld, day: str) -> models.Turn:
    await world.says("hello")
    await world.goes_on()
    await world.answers(Day=day)
    await world.goes_on()
    return await world.turn()


async def forked(world: FlowWorld, at: int) -> Forked:
    turn = await world.turn()
    return await fork_flow(world.stores, world.ada.intake, turn.id, at, "olga", "10.0.0.1")


async def test_a_fork_takes_over_the_results_before_its_step(world: FlowWorld) -> None:
    old = await finished(world, "Monday")
    RAN.clear()
    new = await forked(world, 3)
    await world.ada.intake.drain()
    assert new.kept == 2 and new.conversation_id in world.ada.doorbell.rung
    await world.goes_on()
    assert RAN == [] and (await world.turn()).state == "waiting"
    await world.answers(Day="Tuesday")
    await world.goes_on()
    # Another day is another mail; ctx.key stays that of the first run.
    assert RAN == ["mail on Tuesday"]
    assert await world.last_text() == f"Tuesday {old.id} True"
    turn = await world.turn()
    assert (turn.id, turn.number) == (new.turn_id, old.number + 1)
    texts = [text for kind, text in await world.ada.outbox() if kind == "answer"]
    assert len(texts) == 2
    async with world.stores.database.read() as session:
        view = await flow_view(session, turn.id, world.clock.now)
        before = await flow_view(session, old.id, world.clock.now)
        actions = (await session.scalars(select(models.Audit.action))).all()
    assert view is not None and before is not None and "flow.fork" in actions
    assert (view.forked_from, view.forked_at, view.kept) == (old.id, 3, 2)
    assert [one.is_copied for one in view.entries] == [True, True, False, False, False]
    assert (before.forks, before.can_fork, view.input) == ((turn.id,), True, before.input)


async def test_a_fork_counts_the_same_call_of_the_earlier_run_as_done(world: FlowWorld) -> None:
    await finished(world, "Monday")
    for at in (1, 2, 3):
        RAN.clear()
        await forked(world, at)
        await world.goes_on()
        await world.answers(Day="Monday")
        await world.goes_on()
        assert [line for line in RAN if line.startswith("mail")] == [], at
        assert (["find hello"] if at == 1 else []) == RAN
        assert (await world.turn()).state == "done"
    # A fork of forks looks through all of them.
    states = [(one.name, one.state, one.attempts) for one in await world.journal()]
    assert states[3] == ("mail", "ok", 0)


async def test_two_equal_calls_of_the_earlier_run_stand_for_two(world: FlowWorld) -> None:
    @flow
    async def twice(ctx: FlowContext, message: str) -> str:
        await ctx.gather(*(ctx.call(mail, text="same") for _ in range(2)))
        return "sent"

    @flow(name="twice")
    async def thrice(ctx: FlowContext, message: str) -> str:
        await ctx.gather(*(ctx.call(mail, text="same") for _ in range(3)))
        return "sent"

    world.installs(twice)
    await world.says("go")
    await world.goes_on()
    world.installs(thrice)
    RAN.clear()
    await forked(world, 1)
    await world.goes_on()
    assert RAN == ["mail same"] and await world.last_text() == "sent"


async def test_the_error_of_an_edited_flow_offers_a_fork_that_goes_on(world: FlowWorld) -> None:
    @flow(name="letter")
    async def edited(ctx: FlowContext, message: str) -> str:
        await ctx.call(find, word=message)
        await ctx.call(mail, text="first")
        return str(await ctx.call(mail, text="at once"))

    await world.says("hello")
    await world.goes_on()
    world.installs(edited)
    await world.answers(Day="Monday")
    await world.goes_on()
    turn = await world.turn()
    assert turn.reason_code == "flow_edited"
    assert f"`roost flow fork {turn.id} --at 3`" in turn.error and "from 2." in turn.error
    RAN.clear()
    await forked(world, 3)
    await world.goes_on()
    assert (RAN, await world.last_text()) == (["mail at once"], "sent at once")


async def test_effects_that_were_undone_are_not_taken_over(world: FlowWorld) -> None:
    @flow(name="careful")
    async def careful(ctx: FlowContext, message: str) -> str:
        await ctx.call(find, word=message)
        ctx.compensate(unsend, text="one")
        await ctx.call(mail, text="one")
        await ctx.ask("Day?")
        raise LookupError("no such day")

    @flow(name="careful")
    async def edited(ctx: FlowContext, message: str) -> str:
        await ctx.call(find, word=message)
        ctx.compensate(unsend, text="one")
        return str(await ctx.call(mail, text="one"))

    world.installs(careful)
    await world.says("hello")
    await world.goes_on()
    await world.answers(Day="never")
    await world.goes_on()
    assert RAN == ["find hello", "mail one", "unsend one"]
    with pytest.raises(NotAllowed, match="Fork it at 3 or before"):
        await forked(world, 4)
    world.installs(edited)
    await forked(world, 3)
    RAN.clear()
    await world.goes_on()
    assert (RAN, await world.last_text()) == (["mail one"], "sent one")


async def test_a_fork_is_refused_where_it_makes_no_sense(world: FlowWorld) -> None:
    await world.says("hello")
    await world.goes_on()
    with pytest.raises(NotAllowed, match="runs or waits"):
        await forked(world, 1)
    await world.answers(Day="Monday")
    await world.goes_on()
    for at in (0, 7):
        with pytest.raises(NotAllowed, match="from 1 to 6"):
            await forked(world, at)
    with pytest.raises(NotFound):
        await fork_flow(world.stores, world.ada.intake, "nothing", 1, "olga")
    await world.says("hello")
    await world.goes_on()
    stopped = await world.turn()
    await world.ada.says("/stop")
    await world.goes_on()
    assert (await world.turn()).state == "stopped"
    with pytest.raises(NotAllowed, match="stopped by the person"):
        await fork_flow(world.stores, world.ada.intake, stopped.id, 1, "olga")
    async with world.stores.database.read() as session:
        assert await session.scalar(select(func.count()).select_from(models.FlowRun)) == 2


async def test_two_forks_at_once_are_one_turn(world: FlowWorld) -> None:
    turn = await finished(world, "Monday")
    await forked(world, 3)
    with pytest.raises(NotAllowed, match="Another turn"):
        await fork_flow(world.stores, world.ada.intake, turn.id, 3, "olga")


async def test_a_fork_survives_kills_of_its_worker_and_mails_once(world: FlowWorld) -> None:
    await finished(world, "Monday")
    for number in range(1, 12, 1 if world.stores.database.is_sqlite else 4):
        RAN.clear()
        turn = await finished(world, f"day {number}")
        await forked(world, 2)
        with world.killed_before(number):
            await world.goes_on()
            await world.answers(Day=f"other {number}")
            await world.goes_on()
        assert RAN.count("mail first") == 1, number  # of the first run: the fork counts it as done
        assert RAN.count(f"mail on other {number}") <= 1, number
        assert (await world.turn()).id != turn.id
