"""What a flow may not do, and what an edit under a running flow is told."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from roost import Agent, DefinitionError, FlowContext, flow, tool
from roost.errors import CallFailed, FlowEdited, FlowLimit
from roost.flow import Flow, WrongInput
from roost.flows.advancing import advance
from roost.flows.journal import BRANCHES_MAX, RESULT_BYTES_MAX, Entry
from roost.testing import ScriptedModel, run_flow
from roost_workflows.agents import AgentRegistry


@tool(effect="pure")
async def book(day: str) -> str:
    """Book."""
    return f"booked {day}"


@tool(effect="pure")
async def long_text(size: int) -> str:
    """Return a long text."""
    return "é" * size


class Guest(BaseModel):
    name: str
    age: int = Field(ge=0)


helper = Agent("helper", "Help.")
BAD_GUEST = '{"name": "Ada", "age": -1}'


@flow(name="plan")
async def before(ctx: FlowContext) -> str:
    await ctx.call(book, day="Mon")
    day = await ctx.ask("Which day?")
    first, _ = await ctx.gather(ctx.call(book, day=day), ctx.sleep(5))
    return str(first)


@flow(name="plan")
async def calls_instead(ctx: FlowContext) -> str:
    await ctx.call(book, day="Mon")
    await ctx.call(book, day="Tue")
    return "done"


@flow(name="plan")
async def other_arguments(ctx: FlowContext) -> str:
    await ctx.call(book, day="Sun")
    return "done"


@flow(name="plan")
async def ends_early(ctx: FlowContext) -> str:
    await ctx.call(book, day="Mon")
    return "done"


@flow(name="plan")
async def no_gather(ctx: FlowContext) -> str:
    await ctx.call(book, day="Mon")
    day = await ctx.ask("Which day?")
    return str(await ctx.call(book, day=day))


@flow(name="plan")
async def wider(ctx: FlowContext) -> str:
    await ctx.call(book, day="Mon")
    day = await ctx.ask("Which day?")
    await ctx.gather(ctx.call(book, day=day), ctx.sleep(5), ctx.call(book, day="Sun"))
    return str(await ctx.ask("Again?"))


@flow(name="plan")
async def hides_it(ctx: FlowContext) -> str:
    try:
        ctx.now()
        await ctx.call(book, day="Mon")
    except Exception:
        pass
    return "hidden"


async def test_an_edited_flow_names_the_step() -> None:
    run = await run_flow(before, answers=["Tue"])
    assert run.text == "booked Tue"
    for edited, words in {
        calls_instead: "step 2 was ask('Which day?'), now call('book')",
        other_arguments: "step 1 was call('book'), now call('book') with other arguments",
        ends_early: "step 2 was ask('Which day?'), now the flow ends before it",
        no_gather: "step 3 was call('book'), now call('book')",
        hides_it: "step 1 was call('book'), now now()",
    }.items():
        how = advance(edited, {}, run.journal)
        assert how.state == "failed" and isinstance(how.error, FlowEdited)
        assert str(how.error).startswith(words)
        assert not how.new


async def test_code_behind_the_point_it_has_reached_may_change() -> None:
    begun = await run_flow(before)
    assert begun.state == "waiting"
    again = await run_flow(no_gather, journal=begun.journal, answers=["Wed"])
    assert again.text == "booked Wed"


async def test_a_gather_that_has_ended_takes_no_further_branch() -> None:
    @flow(name="plan")
    async def asks_again(ctx: FlowContext) -> str:
        await before.function(ctx)
        return str(await ctx.ask("Again?"))

    begun = await run_flow(asks_again, answers=["Tue"])
    assert begun.state == "waiting"
    how = advance(wider, {}, begun.journal)
    assert isinstance(how.error, FlowEdited) and how.error.step == 5 and not how.new
    assert str(how.error) == "step 5 was ask('Again?'), now call('book') comes before it"
    # While it still waits, one more branch does no harm.
    waits = await run_flow(asks_again, answers=["Tue"], journal=())
    open_gather = [one for one in waits.journal if one.path.startswith(("0", "1"))]
    assert advance(wider, {}, open_gather).state == "open"


async def test_mistakes_name_the_place_and_the_mend() -> None:
    @flow
    async def forgets(ctx: FlowContext) -> str:
        ctx.call(book, day="Mon")
        return "?"

    @flow
    async def gives_a_list(ctx: FlowContext) -> str:
        await ctx.gather([ctx.sleep(1), ctx.sleep(2)])  # type: ignore[arg-type]
        return "?"

    @flow
    async def starts_a_task(ctx: FlowContext) -> str:
        await asyncio.sleep(1)
        return "?"

    @flow
    async def writes(ctx: FlowContext) -> str:
        return str(await ctx.generate("Who?", schema=Guest))

    wrong: dict[Flow, tuple[str, ...]] = {
        forgets: ("test_flow_bounds.py:", "was made and never awaited", "await ctx.call"),
        gives_a_list: ("not [<roost", "await ctx.gather(*branches)"),
        starts_a_task: ("test_flow_bounds.py:", "no running event loop", "ctx.sleep"),
        writes: ("does not fit: age: Input should be greater than or equal to 0",),
    }
    for one, words in wrong.items():
        run = await run_flow(one, model=ScriptedModel(*[BAD_GUEST] * 2))
        for part in words:
            assert part in str(run.error), (one.name, str(run.error))


def test_wrong_input_is_told_with_the_shape_that_is_wanted() -> None:
    @flow
    async def stay(
        ctx: FlowContext, guest: Guest, rooms: list[Guest], mode: Literal["a", "b"] | None = None
    ) -> str:
        return ""

    with pytest.raises(WrongInput) as caught:
        stay.parse("hello")
    wanted = '{"name": "string", "age": "integer"}'
    assert f'{{"guest": {wanted}, "rooms": [{wanted}], "mode": "a or b or null"}}' in str(
        caught.value
    )


async def test_a_flow_has_a_bounded_number_of_steps() -> None:
    @flow(max_steps=20)
    async def endless(ctx: FlowContext) -> str:
        while True:
            await ctx.call(book, day="Mon")

    run = await run_flow(endless)
    assert isinstance(run.error, FlowLimit) and len(run.journal) == 20

    @flow(max_steps=20)
    async def asks_the_time(ctx: FlowContext) -> str:
        while True:
            ctx.now()

    assert isinstance((await run_flow(asks_the_time)).error, FlowLimit)


async def test_gather_has_a_bounded_number_of_branches() -> None:
    @flow
    async def wide(ctx: FlowContext, count: int) -> str:
        done = await ctx.gather(*(ctx.call(book, day=str(n)) for n in range(count)))
        return str(len(done))

    assert (await run_flow(wide, input={"count": BRANCHES_MAX})).text == "64"
    run = await run_flow(wide, input={"count": BRANCHES_MAX + 1})
    assert isinstance(run.error, FlowLimit) and run.journal == ()


async def test_a_result_is_whole_or_refused() -> None:
    @flow
    async def reads(ctx: FlowContext, size: int) -> str:
        return str(len(await ctx.call(long_text, size=size)))

    most = RESULT_BYTES_MAX // 2
    assert (await run_flow(reads, input={"size": most})).text == str(most)
    run = await run_flow(reads, input={"size": most + 1})
    assert isinstance(run.error, CallFailed) and "more than" in str(run.error)


async def test_arguments_are_bounded_too() -> None:
    @flow
    async def gives(ctx: FlowContext) -> str:
        return str(await ctx.call(book, day="x" * RESULT_BYTES_MAX))

    assert isinstance((await run_flow(gives)).error, FlowLimit)


async def test_sleeps_have_a_zone_and_an_end() -> None:
    @flow
    async def naive(ctx: FlowContext) -> str:
        await ctx.sleep(until=datetime(2027, 1, 1))
        return "?"

    @flow
    async def for_years(ctx: FlowContext) -> str:
        await ctx.sleep(10 * 365 * 86400)
        return "?"

    assert "no time zone" in str((await run_flow(naive)).error)
    assert isinstance((await run_flow(for_years)).error, FlowLimit)


def test_wrong_definitions_name_file_line_and_mend() -> None:
    def plain(ctx: FlowContext) -> str:
        return ""

    async def no_context(message: str) -> str:
        return ""

    async def Upper(ctx: FlowContext) -> str:
        return ""

    async def bare(ctx: FlowContext, city) -> str:  # type: ignore[no-untyped-def]
        return ""

    wrong: dict[Callable[..., Any], str] = {
        plain: "async def",
        no_context: "ctx: FlowContext",
        Upper: "lower-case",
        bare: "needs an annotation",
    }
    for function, words in wrong.items():
        with pytest.raises(DefinitionError, match=words) as caught:
            flow(function)
        assert "test_flow_bounds.py:" in str(caught.value)
    with pytest.raises(DefinitionError, match="steer"):
        flow(queue="steer")(calls_instead.function)
    with pytest.raises(DefinitionError, match="1 to 1000"):
        flow(max_steps=0)(calls_instead.function)


def test_input_is_a_message_fields_or_nothing() -> None:
    @flow
    async def report(ctx: FlowContext, city: str, days: int = 3) -> str:
        return ""

    assert report.parse('{"city": "Rome"}') == {"city": "Rome", "days": 3}
    assert report.parse_input({"city": "Rome", "days": 4}) == {"city": "Rome", "days": 4}
    with pytest.raises(WrongInput, match="city"):
        report.parse("Rome, please")
    with pytest.raises(WrongInput, match="days"):
        report.parse('{"city": "Rome", "days": "many"}')
    assert before.parse("whatever") == {}
    assert report.parse(report.text_of({"city": "Rome", "days": 4})) == {"city": "Rome", "days": 4}


def test_the_code_hash_changes_with_the_code_and_its_tools() -> None:
    assert before.code_hash != calls_instead.code_hash
    assert before.tools == (book,)
    assert before.tool("book") is book


def test_a_flow_is_installed_with_the_agents_that_it_names() -> None:
    @flow
    async def spawns(ctx: FlowContext) -> str:
        return str(await ctx.spawn(helper, "help"))

    registry = AgentRegistry.of(spawns, Agent("other", "Be."))
    assert registry.names == ("spawns", "helper", "other")
    assert registry.flow("spawns") is spawns and registry.agent("spawns") is None
    assert registry.agent("helper") is helper and registry.flow("helper") is None
    assert registry.queues == {"spawns": "followup"}


def test_entries_compare_by_value() -> None:
    entry = Entry("0", "call", "book", "{}")
    assert replace(entry, state="ok") != entry
