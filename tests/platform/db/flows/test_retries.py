"""R25: an operator has a failed turn tried again, and nothing that was done is done twice."""

import asyncio

import pytest
from sqlalchemy import select

from roost import Agent, Context, FlowContext, flow, tool
from roost_inference.errors import InvalidRequest
from roost_platform.db import models
from roost_platform.errors import NotAllowed, NotFound
from roost_platform.flows import retry_turn
from roost_platform.testing.chats import Person
from roost_platform.testing.flow_world import FlowWorld
from roost_platform.testing.workers import InProcessWorker
from roost_workflows.ports import PlannedCall

RAN: list[str] = []
WORLDS: list[FlowWorld] = []
BROKEN = InvalidRequest("the engine is down")


@tool(effect="unsafe")
async def charge(ctx: Context, amount: int) -> str:
    """Charge."""
    RAN.append(f"charge {amount}")
    return f"charged {amount}"


@tool(effect="unsafe")
async def dies(ctx: Context) -> str:
    """Die with the worker, once its work is done."""
    RAN.append("dies")
    WORLDS[-1].is_dead = True
    return "done"


@tool(effect="idempotent")
async def look(ctx: Context, place: str) -> str:
    """Look, and fail the first time."""
    RAN.append(f"look {ctx.key.split(':', 1)[1]}")
    if RAN.count(RAN[-1]) == 1 and place == "fog":
        raise ConnectionError("nothing to see")
    return f"{place} is fine"


clerk = Agent("clerk", "You are a clerk.", [charge])


@pytest.fixture(autouse=True)
def ran(world: FlowWorld) -> None:
    RAN.clear()
    WORLDS.append(world)


async def retried(world: FlowWorld) -> None:
    await retry_turn(world.stores, world.ada.intake, (await world.turn()).id, "olga", "10.0.0.1")
    await world.ada.intake.drain()
    assert await world.ada.conversation_id() in world.ada.doorbell.rung
    await world.goes_on()


async def test_r25_a_retried_turn_goes_on_behind_its_calls_and_answers_once(ada: Person) -> None:
    worker = InProcessWorker(ada, clerk)
    worker.model.lines[clerk.instructions] = [[("charge", {"amount": 5})], BROKEN, "It is paid."]
    ada.stores.inbox._default_agent = "clerk"
    await ada.says("charge five")
    await worker.work()
    async with ada.stores.database.read() as session:
        turn = (await session.scalars(select(models.Turn))).one()
    assert (turn.state, RAN) == ("failed", ["charge 5"])
    again = await retry_turn(ada.stores, ada.intake, turn.conversation_id, "olga", "10.0.0.1")
    assert (again.turn_id, again.retries) == (turn.id, 1)
    await worker.work()
    first, failed, last = worker.model.of(clerk)
    # The same prompt as that of the call that failed: the input, the call and its result.
    assert last.messages == failed.messages and len(first.messages) < len(last.messages)
    assert RAN == ["charge 5"]
    kinds = [kind for kind, _ in await ada.outbox()]
    assert kinds == ["error", "answer"] and (await ada.outbox())[-1][1] == "It is paid."
    async with ada.stores.database.read() as session:
        (turn,) = await session.scalars(select(models.Turn))
        rows = (await session.scalars(select(models.Transcript))).all()
        audited = (await session.scalars(select(models.Audit.action))).all()
    assert (turn.state, turn.error, turn.reason_code) == ("done", "", "")
    said = sorted(rows, key=lambda row: row.position)
    assert [(row.role, row.note_kind) for row in said] == [
        *(("user", ""), ("assistant", ""), ("tool", ""), ("assistant", "retried")),
        ("assistant", ""),
    ]
    assert "tried again by olga" in said[3].note and "turn.retry" in audited
    await ada.says("thanks")
    await worker.work()
    assert worker.model.of(clerk)[-1].messages[: len(last.messages)] == last.messages


async def test_r25_a_call_of_unknown_outcome_stays_unknown_in_a_retry(ada: Person) -> None:
    await ada.says("charge")
    turn = await ada.turn()
    plan = [PlannedCall("c1", "charge", "{}", "unsafe")]
    await ada.agent_says(turn, 1, "", finish="tools", calls=plan)
    await ada.stores.turns.begin_call(turn.turn_id, 1, "c1")
    await ada.stores.turns.settle(turn.turn_id, outcome="failed", reason="worker_died")
    await ada.stores.operators.retry(turn.turn_id, "olga")
    begun = await ada.turn()
    assert (begun.turn_id, begun.first_step, begun.steps_before) == (turn.turn_id, 2, 1)
    call = await ada.stores.turns.begin_call(turn.turn_id, 1, "c1")
    assert call.state == "unknown"
    shown = (await ada.stores.turns.context(turn.turn_id, 2)).messages
    assert [(one.role, one.status) for one in shown][-1] == ("tool", "unknown")


async def test_r25_a_retry_is_refused_where_it_makes_no_sense(ada: Person) -> None:
    retry = ada.stores.operators.retry

    async def refused(turn_id: str, words: str) -> None:
        with pytest.raises(NotAllowed, match=words):
            await retry(turn_id, "olga")

    await ada.says("one")
    turn = await ada.turn()
    await refused(turn.turn_id, "It runs")
    await ada.agent_says(turn, 1, "hello")
    await refused(turn.turn_id, "ended with an answer")
    await ada.says("two")
    turn = await ada.turn()
    await ada.says("/stop")
    await ada.stores.turns.settle(turn.turn_id, outcome="stopped", reason="stopped")
    await refused(turn.turn_id, "stopped by the person")
    await ada.says("three")
    turn = await ada.turn()
    await ada.stores.turns.settle(turn.turn_id, outcome="failed", reason="engine_failed")
    await ada.says("/new")
    await refused(turn.turn_id, "new session")
    await ada.says("four")
    turn = await ada.turn()
    await ada.stores.turns.settle(turn.turn_id, outcome="failed", reason="engine_failed")
    await ada.says("five")
    await ada.turn()
    await refused(turn.turn_id, "newer turn")
    with pytest.raises(NotFound):
        await retry("nothing", "olga")


async def test_r25_two_presses_at_once_are_one_retry(ada: Person) -> None:
    await ada.says("one")
    turn = await ada.turn()
    await ada.stores.turns.settle(turn.turn_id, outcome="failed", reason="engine_failed")
    both = await asyncio.gather(
        *(ada.stores.operators.retry(turn.turn_id, name) for name in ("olga", "otto")),
        return_exceptions=True,
    )
    assert sorted(isinstance(one, NotAllowed) for one in both) == [False, True]


async def test_r25_a_retried_flow_repeats_no_step_and_keeps_its_keys(world: FlowWorld) -> None:
    @flow
    async def trip(ctx: FlowContext, message: str) -> str:
        await ctx.call(charge, amount=3)
        seen = await ctx.call(look, place=message)
        return f"{seen} {await ctx.ask('Sure?')} {ctx.key}"

    world.installs(trip)
    await world.says("fog")
    await world.goes_on()
    turn = await world.turn()
    assert (turn.state, turn.reason_code) == ("failed", "flow_failed")
    await retried(world)
    # The call that failed is made again under its key; the charge is not.
    assert RAN == ["charge 3", "look 2:1", "look 2:1"]
    await world.answers(Sure="yes")
    await world.goes_on()
    assert await world.last_text() == f"fog is fine yes {turn.id}"
    assert (await world.turn()).id == turn.id


async def test_r25_a_flow_in_whose_unsafe_tool_the_worker_died_keeps_it_unknown(
    world: FlowWorld,
) -> None:
    @flow
    async def buys(ctx: FlowContext, message: str) -> str:
        return str(await ctx.call(dies))

    world.installs(buys)
    await world.says("buy")
    await world.goes_on()
    assert (await world.turn()).state == "failed"
    await retried(world)
    assert RAN == ["dies"]
    (entry,) = await world.journal()
    assert (entry.state, (await world.turn()).retries) == ("unknown", 1)


async def test_r25_a_flow_that_undid_its_work_is_not_retried_but_forked(world: FlowWorld) -> None:
    @flow
    async def careful(ctx: FlowContext, message: str) -> str:
        day = await ctx.ask("Day?")
        ctx.compensate(look, place="undo")
        await ctx.call(charge, amount=1)
        raise LookupError(f"no {day}")

    world.installs(careful)
    await world.says("buy")
    await world.goes_on()
    await world.answers(Day="Monday")
    await world.goes_on()
    turn = await world.turn()
    with pytest.raises(NotAllowed, match=f"roost flow fork {turn.id} --at 3"):
        await world.stores.operators.retry(turn.id, "olga")


async def test_r25_a_model_call_of_a_flow_that_failed_is_made_again(world: FlowWorld) -> None:
    @flow
    async def writes(ctx: FlowContext, message: str) -> str:
        await ctx.call(charge, amount=2)
        return str(await ctx.generate("Write."))

    world.installs(writes)
    world.engine.texts = [" ", " "]  # nothing that could be used, twice
    await world.says("go")
    await world.goes_on()
    assert (await world.turn()).state == "failed"
    world.engine.texts = ["A letter."]
    await retried(world)
    assert (await world.last_text(), RAN) == ("A letter.", ["charge 2"])
    async with world.stores.database.read() as session:
        (step, _) = await session.scalars(select(models.TurnStep).order_by(models.TurnStep.step))
    assert step.completion_tokens == 3 * 10  # the failed tries were paid for as well
