"""Flows as turns, over SQLite and PostgreSQL: they survive kills, wait as rows, and undo."""

import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import pytest

from roost import Agent, Context, FlowContext, Stopped, flow, tool
from roost.errors import CallFailed, NoAnswer
from roost_platform.testing.flow_world import FlowWorld
from roost_platform.testing.storage.snapshots import put_back, take

RAN: list[str] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    RAN.clear()


@tool(effect="idempotent")
async def book(ctx: Context, city: str) -> dict[str, str]:
    """Book."""
    RAN.append(f"book {city} {ctx.key.split(':', 1)[1]} for {ctx.person.name}")
    return {"city": city}


@tool(effect="unsafe", approval="ask")
async def pay(amount: int) -> str:
    """Pay."""
    RAN.append(f"pay {amount}")
    return "paid"


@tool(effect="idempotent")
async def cancel(city: str) -> str:
    """Cancel."""
    RAN.append(f"cancel {city}")
    if city == "broken":
        raise ValueError("the shop is shut")
    return "cancelled"


writer = Agent("writer", "You write.")


@flow
async def trip(ctx: FlowContext, message: str) -> str:
    """Plan a trip."""
    ctx.progress("Planning", steps=["ask", "book"], done=0)
    city = await ctx.ask("Where to?", options=["Rome", "Paris"])
    booked, again = await ctx.gather(
        ctx.call(book, city=city), ctx.ask("When?", options=["May", "June"])
    )
    if not await ctx.approve("Pay 12 €?"):
        return "Nothing paid."
    ctx.compensate(cancel, city=city)
    paid = await ctx.call(pay, amount=12)
    await ctx.sleep(timedelta(days=30))
    text = await ctx.generate(f"Confirm {message}", agent=writer, booked=booked)
    return f"{text}: {booked['city']} {again} {paid} {0 <= ctx.random() < 1}"


async def sleep_ends(world: FlowWorld) -> None:
    world.clock.advance(30 * 86400 + 1)
    assert await world.sleeps_end() == 1


# What people and the clock do, each when the flow has come as far as it could.
ACTS: Sequence[Callable[[FlowWorld], Awaitable[None]]] = (
    lambda world: world.says("a trip"),
    lambda world: world.answers(Where="Rome"),
    lambda world: world.answers(When="June"),
    lambda world: world.decides(True),  # approve(...)
    lambda world: world.decides(True),  # the tool pay
    sleep_ends,
)


async def take_trip(world: FlowWorld) -> None:
    for act in ACTS:
        await act(world)
        await world.goes_on()


async def test_a_flow_answers_as_an_agent_does(world: FlowWorld) -> None:
    world.installs(trip)
    world.engine.texts = ["Confirmed"]
    await take_trip(world)
    assert await world.last_text() == "Confirmed: Rome June paid True"
    turn = await world.turn()
    assert (turn.state, turn.agent) == ("done", "trip")
    journal = await world.journal()
    assert [(one.step, one.call_id, one.op, one.state) for one in journal] == [
        (1, "0", "ask", "ok"),
        (2, "1/0/0", "call", "ok"),
        (3, "1/1/0", "ask", "ok"),
        (4, "2", "approve", "ok"),
        (5, "3", "compensate", "skipped"),
        (6, "4", "call", "ok"),
        (7, "5", "sleep", "ok"),
        (8, "6", "generate", "ok"),
        (9, "7", "random", "ok"),
    ]
    assert RAN == ["book Rome 2:1/0/0 for Ada", "pay 12"]
    assert world.engine.asked[0].messages[0]["content"] == "You write."
    assert '<payload name="booked">' in str(world.engine.asked[0].messages[1]["content"])


async def reached(world: FlowWorld) -> tuple[object, ...]:
    """How far the flow is, whatever happened on the way: what follows depends on nothing else."""
    entries = [
        (one.call_id, one.op, one.state, one.wait, one.result)
        for one in await world.journal()
        if one.op != "random"
    ]
    turn = await world.turn()
    texts = [text for _, text in await world.ada.outbox()]
    return entries, turn.state, turn.reason_code, sorted(set(RAN)), texts


async def test_flow_survives_kill_at_every_commit(world: FlowWorld) -> None:
    """A kill may change nothing of where the flow stands when it has come as far as it can. So each
    stretch between two acts of people is tried with a kill at each of its commits; what follows is
    the next stretch, whose tries begin there.
    """
    world.installs(trip)
    tries = 0
    paid_unknown = 0
    for act in ACTS:
        await act(world)
        before, ran = await take(world.stores.database), list(RAN)
        world.engine.texts = ["Confirmed"]
        world.commits = 0
        await world.goes_on()
        commits = world.commits
        after, ran_after = await take(world.stores.database), list(RAN)
        wanted = await reached(world)
        for number in range(1, commits + 1):
            await put_back(world.stores.database, before)
            RAN[:] = ran
            world.engine.texts = ["Confirmed"] * 3
            with world.killed_before(number):
                await world.goes_on()
            tries += 1
            assert RAN.count("pay 12") <= 1
            if await reached(world) != wanted:  # the worker died within `pay`, which is unsafe
                paid_unknown += 1
                assert (await world.journal())[5].state == "unknown", (number, RAN)
                assert await world.last_text() == (
                    "Something went wrong on the way and I could not finish this. "
                    "Undone again by: cancel."
                )
        await put_back(world.stores.database, after)
        RAN[:] = ran_after
    assert await world.last_text() == "Confirmed: Rome June paid True"
    assert tries > 25 and paid_unknown == 1


async def test_sleep_of_a_month_holds_nothing_open(world: FlowWorld) -> None:
    @flow
    async def nap(ctx: FlowContext, message: str) -> str:
        before = ctx.now()
        await ctx.sleep(30 * 86400)
        return f"slept {(ctx.now() - before).days} days"

    world.installs(nap)
    await world.says("good night")
    await world.goes_on()
    turn = await world.turn()
    assert turn.state == "waiting"
    assert await world.stores.turns.begin(turn.conversation_id) is None  # the run is closed
    world.clock.advance(29 * 86400)
    assert await world.sleeps_end() == 0
    world.clock.advance(86400 + 1)
    assert await world.sleeps_end() == 1
    await world.goes_on()
    assert await world.last_text() == "slept 30 days"
    assert (await world.turn()).waited_s > 29 * 86400


async def test_gathered_questions_get_their_own_answers(world: FlowWorld) -> None:
    @flow
    async def two(ctx: FlowContext) -> str:
        first, second = await ctx.gather(ctx.ask("Name?"), ctx.ask("Town?"))
        return f"{first} of {second}"

    world.installs(two)
    await world.says("hi")
    await world.goes_on()
    await world.answers(Town="Oslo")
    await world.goes_on()
    assert (await world.turn()).state == "waiting"
    await world.answers(Name="Ada")
    await world.goes_on()
    assert await world.last_text() == "Ada of Oslo"


async def test_a_branch_that_waits_lets_the_others_go_on(world: FlowWorld) -> None:
    @flow
    async def side(ctx: FlowContext) -> str:
        async def slow() -> str:
            await ctx.sleep(3600)
            return str((await ctx.call(book, city="Rome"))["city"])

        async def quick() -> int:
            for city in ("Oslo", "Bern"):
                await ctx.call(book, city=city)
            return 2

        return " ".join(map(str, await ctx.gather(slow(), quick())))

    world.installs(side)
    await world.says("go")
    await world.goes_on()
    assert [one.split()[1] for one in RAN] == ["Oslo", "Bern"]
    world.clock.advance(3601)
    await world.sleeps_end()
    await world.goes_on()
    assert await world.last_text() == "Rome 2"


@flow
async def shop(ctx: FlowContext, message: str) -> str:
    try:
        for city in ("Rome", "broken", "Oslo"):
            ctx.compensate(cancel, city=city)
            await ctx.call(book, city=city)
        await ctx.ask("Shall I go on?")
    except Stopped:
        ctx.compensate(cancel, city="late")
        raise
    if message == "fail":
        raise LookupError("sold out")
    return "bought"


async def test_compensations_run_newest_first_after_stop(world: FlowWorld) -> None:
    world.installs(shop)
    await world.says("buy")
    await world.goes_on()
    assert (await world.turn()).state == "waiting"
    RAN.clear()
    await world.ada.says("/stop")
    assert world.ada.doorbell.stopped
    await world.goes_on()
    assert RAN == ["cancel late", "cancel Oslo", "cancel broken", "cancel Rome"]
    turn = await world.turn()
    assert turn.state == "stopped"
    text = await world.last_text()
    assert "3 done" in text and "Undone again by: cancel." in text
    assert "Not undone, please look into it: cancel." in text
    states = {json.loads(one.arguments)["city"]: one.state for one in await world.journal()
              if one.op == "compensate"}  # fmt: skip
    assert states == {"late": "ok", "Oslo": "ok", "broken": "error", "Rome": "ok"}


async def test_compensations_survive_kills_after_a_failure(world: FlowWorld) -> None:
    world.installs(shop)
    for number in range(1, 16, 2 if world.stores.database.is_sqlite else 5):
        await world.says("fail")
        await world.goes_on()
        RAN.clear()
        with world.killed_before(number):
            await world.answers(Shall="yes")
            await world.goes_on()
        turn = await world.turn()
        assert (turn.state, turn.reason_code) == ("failed", "flow_failed"), number
        assert "LookupError: sold out" in turn.error
        assert list(dict.fromkeys(RAN)) == ["cancel Oslo", "cancel broken", "cancel Rome"]


async def test_edited_flow_names_the_step_to_operators(world: FlowWorld) -> None:
    @flow(name="plan")
    async def before(ctx: FlowContext) -> str:
        await ctx.call(book, city="Rome")
        return await ctx.ask("Which day?")  # type: ignore[no-any-return]

    @flow(name="plan")
    async def after(ctx: FlowContext) -> str:
        await ctx.call(book, city="Rome")
        return str(await ctx.call(book, city="Oslo"))

    world.installs(before)
    await world.says("hi")
    await world.goes_on()
    world.installs(after)
    await world.answers(Which="Monday")
    await world.goes_on()
    turn = await world.turn()
    assert (turn.state, turn.reason_code) == ("failed", "flow_edited")
    assert "step 2 was ask('Which day?'), now call('book')" in turn.error
    assert "roost flow start plan" in turn.error
    assert "changed while I worked on it" in await world.last_text()
    assert len(RAN) == 1


async def test_an_unanswered_question_ends_the_flow_in_words(world: FlowWorld) -> None:
    @flow
    async def asks(ctx: FlowContext) -> str:
        with contextlib.suppress(NoAnswer):
            await ctx.ask("First?", timeout=60)
        return str(await ctx.ask("Second?"))

    world.installs(asks)
    await world.says("hi")
    await world.goes_on()
    await world.expires()
    await world.goes_on()
    assert (await world.turn()).state == "waiting"
    await world.expires()
    await world.goes_on()
    assert (await world.turn()).reason_code == "flow_unanswered"


async def test_a_denied_tool_is_an_error_that_the_flow_can_catch(world: FlowWorld) -> None:
    @flow
    async def buys(ctx: FlowContext) -> str:
        try:
            return str(await ctx.call(pay, amount=3))
        except CallFailed as error:
            return f"{error.status}: {error.text}"

    world.installs(buys)
    await world.says("hi")
    await world.goes_on()
    await world.decides(False)
    await world.goes_on()
    assert await world.last_text() == "error: Not run: Ada said no."
    assert RAN == []


async def test_an_endless_loop_without_awaits_is_cut(
    world: FlowWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    from roost_workflows.turn.flow import guard

    monkeypatch.setattr(guard.bounded, "__kwdefaults__", {"cpu_s": 0.3, "wall_s": 30.0})

    @flow
    async def endless(ctx: FlowContext) -> str:
        while True:
            pass

    world.installs(endless)
    await world.says("hi")
    await world.goes_on()
    turn = await world.turn()
    assert (turn.state, turn.reason_code) == ("failed", "flow_failed")
    assert "without reaching its next step" in turn.error


async def test_wrong_input_is_told_to_the_person(world: FlowWorld) -> None:
    @flow
    async def report(ctx: FlowContext, city: str, days: int = 3) -> str:
        return f"{city} {days}"

    world.installs(report)
    await world.says("Rome please")
    await world.goes_on()
    assert "Send its input as JSON" in await world.last_text()
    await world.says('{"city": "Rome"}')
    await world.goes_on()
    assert await world.last_text() == "Rome 3"


async def test_messages_during_a_flow_wait_for_its_end(world: FlowWorld) -> None:
    @flow
    async def echo(ctx: FlowContext, message: str) -> str:
        await ctx.sleep(60)
        return f"heard {message}"

    world.installs(echo)
    await world.says("one")
    await world.goes_on()
    await world.says("two")
    await world.goes_on()
    for _ in range(2):
        world.clock.advance(61)
        await world.sleeps_end()
        await world.goes_on()
    texts = [text for kind, text in await world.ada.outbox() if kind == "answer"]
    assert texts == ["heard one", "heard two"]
