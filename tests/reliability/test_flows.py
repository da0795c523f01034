"""R45 and R46: flows survive kills at every step, undo what was stopped, and name edits."""

import pytest

from roost import Context, FlowContext, flow, tool
from roost.flow import Flow
from roost_platform.testing.chats import HandClock, Person
from roost_platform.testing.flow_world import FlowWorld

RAN: list[str] = []


@tool(effect="unsafe")
async def pay(ctx: Context) -> str:
    """Pay."""
    RAN.append("pay")
    return "paid"


@tool(effect="idempotent")
async def refund(ctx: Context) -> str:
    """Pay back."""
    RAN.append("refund")
    return "refunded"


@flow
async def purchase(ctx: FlowContext, message: str) -> str:
    """Pay, wait for a yes, and sleep."""
    await ctx.call(pay)
    ctx.compensate(refund)
    yes = await ctx.approve("Keep it?")
    await ctx.sleep(3600)
    return f"kept: {yes}"


def edited() -> Flow:
    """The same flow after somebody changed what it did before it waited."""

    @flow(name="purchase")
    async def changed(ctx: FlowContext, message: str) -> str:
        await ctx.call(refund)
        return str(await ctx.approve("Keep it?"))

    return changed


@pytest.fixture
def world(ada: Person, clock: HandClock) -> FlowWorld:
    RAN.clear()
    world = FlowWorld(ada, clock)
    world.watch_commits()
    world.installs(purchase)
    return world


async def whole(world: FlowWorld) -> None:
    await world.goes_on()
    await world.decides(True)
    await world.goes_on()
    world.clock.advance(3601)
    await world.sleeps_end()
    await world.goes_on()


async def test_r45_a_flow_whose_worker_dies_before_any_commit_pays_at_most_once(
    world: FlowWorld,
) -> None:
    await world.says("a book")
    world.commits = 0
    await whole(world)
    commits = world.commits
    assert await world.last_text() == "kept: True" and RAN == ["pay"]
    for number in range(1, commits + 1, 3):
        RAN.clear()
        await world.says("a book")
        with world.killed_before(number):
            try:
                await whole(world)
            except AssertionError:  # nothing is asked after a call of unknown outcome
                assert (await world.turn()).state == "failed", number
        assert RAN.count("pay") <= 1, number
        assert (await world.turn()).state in ("done", "failed"), number


async def test_r45_a_flow_that_is_stopped_while_it_waits_undoes_its_work_once(
    world: FlowWorld,
) -> None:
    await world.says("a book")
    await world.goes_on()
    await world.ada.says("/stop")
    with world.killed_before(1, 3):  # and its worker dies twice on the way
        await world.goes_on()
    assert RAN[0] == "pay" and set(RAN[1:]) == {"refund"}
    assert (await world.turn()).state == "stopped"
    await world.goes_on()
    assert RAN[0] == "pay" and (await world.last_text()).count("refund") == 1


async def test_r46_a_flow_that_was_edited_while_it_waited_ends_with_the_step_named(
    world: FlowWorld,
) -> None:
    await world.says("a book")
    await world.goes_on()
    world.installs(edited())
    await world.decides(True)
    await world.goes_on()
    turn = await world.turn()
    assert (turn.state, turn.reason_code) == ("failed", "flow_edited")
    assert "purchase" in turn.error and RAN.count("pay") == 1
