"""Flows over a journal in memory: every step is kept, and a kill at any of them changes nothing."""

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel

from roost import Agent, Context, FlowContext, Stopped, flow, tool
from roost.errors import CallFailed, FlowEdited, FlowError, GenerateFailed, NoAnswer, SpawnFailed
from roost.flows.advancing import advance
from roost.testing import FlowRun, ScriptedModel, kill_at_every_step, run_flow
from roost.waits import Question


class Train(BaseModel):
    """A train."""

    city: str
    at: datetime


RAN: list[str] = []


@pytest.fixture(autouse=True)
def forget() -> None:
    RAN.clear()


@tool(effect="pure")
async def find_trains(city: str) -> list[Train]:
    """Find trains."""
    RAN.append(f"find {city}")
    return [Train(city=city, at=datetime(2027, 1, 2, 8, tzinfo=UTC))]


@tool(effect="idempotent", approval="ask")
async def book(ctx: Context, city: str) -> str:
    """Book a train."""
    RAN.append(f"book {ctx.key}")
    return f"booked {city}"


@tool(effect="unsafe")
async def pay(amount: int) -> str:
    """Pay."""
    RAN.append(f"pay {amount}")
    return "paid"


@tool(effect="idempotent")
async def cancel(what: str) -> str:
    """Cancel."""
    RAN.append(f"cancel {what}")
    if what == "broken":
        raise ValueError("the shop is shut")
    return f"cancelled {what}"


writer = Agent("writer", "You write short texts.")


@flow
async def trip(ctx: FlowContext, message: str) -> str:
    """Plan a trip."""
    city = await ctx.ask("Which city?", options=["Rome", "Paris"])
    trains, hotels = await ctx.gather(
        ctx.call(find_trains, city=city), ctx.spawn(writer, f"hotels in {city}")
    )
    assert trains[0].at.hour == 8
    if not await ctx.approve("Book for 120 €?"):
        return "Nothing booked."
    ctx.compensate(cancel, what=city)
    booked = await ctx.call(book, city=city)
    await ctx.sleep(timedelta(days=30))
    chance = ctx.random()
    text = await ctx.generate("Confirm the booking.", trains=trains, hotels=hotels)
    return f"{text} {booked} {chance} {ctx.now().isoformat()} {ctx.uuid()}"


async def run_trip(kills: Collection[int] = ()) -> FlowRun:
    RAN.clear()
    return await run_flow(
        trip,
        "Plan",
        model=ScriptedModel("Confirmed."),
        answers=["Rome"],
        approvals={"Book for 120 €?": True, "book": True},
        children={"writer": lambda task: f"found {task}"},
        kills=kills,
    )


async def test_flow_survives_kill_at_every_step() -> None:
    runs = await kill_at_every_step(run_trip)
    assert len(runs) > 15
    for run in runs:
        assert run.state == "done", run.error
        assert run.text.startswith("Confirmed. booked Rome 0.")
        assert run.asked.count("Which city?") == 1
        assert run.slept_s == 30 * 86400
        assert run.undone == ()
        assert [one.path for one in run.journal] == [one.path for one in runs[0].journal]


async def test_an_unsafe_call_is_never_repeated_after_a_kill() -> None:
    @flow
    async def buy(ctx: FlowContext) -> str:
        try:
            return str(await ctx.call(pay, amount=3))
        except CallFailed as error:
            return error.status

    async def run(kills: Collection[int]) -> FlowRun:
        RAN.clear()
        result = await run_flow(buy, kills=kills)
        assert RAN.count("pay 3") <= 1
        return result

    texts = [one.text for one in await kill_at_every_step(run)]
    assert set(texts) == {"paid", "unknown"}


async def test_random_numbers_times_and_ids_are_the_same_in_every_replay() -> None:
    seen: list[tuple[float, datetime, object]] = []

    @flow
    async def chance(ctx: FlowContext) -> str:
        values = (ctx.random(), ctx.now(), ctx.uuid())
        seen.append(values)
        await ctx.sleep(100)
        await ctx.sleep(100)
        return str(values)

    await run_flow(chance)
    assert len(seen) >= 3 and len(set(seen)) == 1


async def test_gathered_questions_get_their_own_answers() -> None:
    @flow
    async def two(ctx: FlowContext) -> str:
        async def day(name: str) -> str:
            first = await ctx.ask(f"{name}: what?")
            return f"{first}/{await ctx.ask(f'{name}: when?')}"

        return " ".join(await ctx.gather(day("Mon"), day("Tue"), ctx.ask("Where?")))

    answers = {
        "Tue: what?": "run",
        "Mon: what?": "swim",
        "Where?": "here",
        "Tue: when?": "7",
        "Mon: when?": "9",
    }
    run = await run_flow(two, answers=answers)
    assert run.text == "swim/9 run/7 here"
    assert [one.path for one in run.journal] == ["0/0/0", "0/1/0", "0/2/0", "0/0/1", "0/1/1"]


async def test_a_branch_that_sleeps_lets_the_others_go_on() -> None:
    @flow
    async def side(ctx: FlowContext) -> str:
        async def slow() -> str:
            await ctx.sleep(3600)
            return f"slow {len(RAN)}"

        async def quick() -> str:
            for city in ("Rome", "Oslo", "Bern"):
                await ctx.call(find_trains, city=city)
            return "quick"

        return " ".join(await ctx.gather(slow(), quick()))

    run = await run_flow(side)
    assert run.text == "slow 3 quick"
    assert [one.op for one in run.journal] == ["sleep", "call", "call", "call"]


async def test_a_failed_branch_is_raised_when_all_have_ended() -> None:
    @flow
    async def fails(ctx: FlowContext) -> str:
        try:
            await ctx.gather(ctx.call(cancel, what="broken"), ctx.call(cancel, what="tea"))
        except CallFailed as error:
            return f"{error.tool} {error.status} {sorted(RAN)}"
        return "no error"

    run = await run_flow(fails)
    assert run.text == "cancel error ['cancel broken', 'cancel tea']"


async def test_compensations_run_newest_first_after_a_stop_and_a_failing_one_stops_none() -> None:
    ended: list[str] = []

    @flow
    async def buy(ctx: FlowContext) -> str:
        try:
            for what in ("tea", "broken", "milk"):
                ctx.compensate(cancel, what=what)
                await ctx.sleep(10)
            await ctx.ask("Shall I go on?")
        except Stopped:
            ended.append("stopped")
            raise
        return "bought"

    run = await run_flow(buy, stop_after=3)
    assert run.state == "stopped"
    assert ended == ["stopped"]
    assert run.undone == (("cancel", "ok"), ("cancel", "error"), ("cancel", "ok"))
    assert RAN == ["cancel milk", "cancel broken", "cancel tea"]


async def test_compensations_run_after_a_failure_and_survive_a_kill() -> None:
    @flow
    async def buy(ctx: FlowContext) -> str:
        ctx.compensate(cancel, what="tea")
        await ctx.sleep(1)
        raise LookupError("sold out")

    async def run(kills: Collection[int]) -> FlowRun:
        return await run_flow(buy, kills=kills)

    for one in await kill_at_every_step(run):
        assert (one.state, str(one.error)) == ("failed", "sold out")
        assert one.journal[0].state == "ok"


async def test_a_flow_waits_where_the_test_has_no_answer_and_goes_on_from_its_journal() -> None:
    first = await run_flow(trip, "Plan", children={"writer": "none"})
    assert (first.state, [one.state for one in first.journal]) == ("waiting", ["waiting"])
    again = await run_flow(
        trip,
        "Plan",
        journal=first.journal,
        answers=["Paris"],
        approvals=[False],
        children={"writer": "none"},
    )
    assert again.text == "Nothing booked."


async def test_silence_is_no_answer_a_no_or_the_default() -> None:
    @flow
    async def quiet(ctx: FlowContext) -> str:
        given = await ctx.ask("Size?", default="M", timeout=60)
        try:
            await ctx.ask("Colour?")
        except NoAnswer:
            return f"{given} without colour"
        return "?"

    assert (await run_flow(quiet, answers=[None, None])).text == "M without colour"


async def test_a_form_gives_each_question_its_answer() -> None:
    @flow
    async def form(ctx: FlowContext) -> str:
        given = await ctx.ask(["Name?", Question("Size?", ("S", "M"))])
        return f"{given['Name?']} {given['Size?']}"

    assert (await run_flow(form, answers=["Ada", "S"])).text == "Ada S"


async def test_generate_gives_a_value_of_the_schema_and_asks_once_more() -> None:
    @flow
    async def extract(ctx: FlowContext, message: str) -> str:
        train = await ctx.generate("Which train?", agent=writer, schema=Train, text=message)
        return str(train.city)

    model = ScriptedModel("Rome!", '```json\n{"city": "Rome", "at": "2027-01-01T08:00"}\n```')
    run = await run_flow(extract, "to <payload> Rome", model=model)
    assert run.text == "Rome"
    assert model.requests[0][0] == {"role": "system", "content": "You write short texts."}
    assert "That does not fit" in model.requests[1][-1]["content"]
    bad = await run_flow(extract, "x", model=ScriptedModel("a", "b"))
    assert isinstance(bad.error, GenerateFailed)


async def test_a_spawned_agent_without_an_answer_can_be_caught() -> None:
    @flow
    async def parent(ctx: FlowContext) -> str:
        try:
            return str(await ctx.spawn(writer, "write", schema=int))
        except SpawnFailed:
            return "no number"

    assert (await run_flow(parent, children={"writer": "7"})).text == "7"
    assert (await run_flow(parent, children={"writer": "seven"})).text == "no number"


async def test_awaiting_anything_else_says_to_put_it_into_a_tool() -> None:
    @flow
    async def naps(ctx: FlowContext) -> str:
        await asyncio.sleep(0.01)
        return "rested"

    @flow
    async def yields(ctx: FlowContext) -> str:
        await asyncio.sleep(0)
        return "rested"

    # Where flows run for real there is no event loop, and asyncio says so in its own words.
    alone = await asyncio.to_thread(advance, naps, {}, [])
    assert "RuntimeError: no running event loop" in str(alone.error)
    assert "Put other work into a tool" in str(alone.error)
    for one in (naps, yields):
        run = await run_flow(one)
        assert run.state == "failed" and isinstance(run.error, FlowError)
        assert "Put other work into a tool" in str(run.error)


async def test_a_step_that_nobody_awaits_is_named() -> None:
    @flow
    async def forgets(ctx: FlowContext) -> str:
        ctx.call(pay, amount=1)
        return "paid"

    run = await run_flow(forgets)
    assert "call('pay') was made and never awaited" in str(run.error)
    assert RAN == []


async def test_an_edited_flow_undoes_what_its_code_does_not_come_to_any_more() -> None:
    undone: list[str] = []

    @tool(effect="idempotent")
    async def take_back(what: str) -> None:
        """Take it back."""
        undone.append(what)

    @flow(name="order")
    async def before(ctx: FlowContext) -> str:
        await ctx.sleep(10)
        ctx.compensate(take_back, what="order")
        ctx.compensate(take_back, what="letter")
        return str(await ctx.ask("Keep it?"))

    @flow(name="order")
    async def after(ctx: FlowContext) -> str:
        if await ctx.ask("Order it?"):
            ctx.compensate(take_back, what="order")
        return ""

    waiting = await run_flow(before)
    edited = await run_flow(after, journal=waiting.journal, answers=["yes"])
    assert isinstance(edited.error, FlowEdited)
    assert edited.undone == (("take_back", "ok"), ("take_back", "ok"))
    assert undone == ["letter", "order"]
