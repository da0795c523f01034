"""Agents and the turn loop without engine, database or Temporal."""

import asyncio

import pytest

from roost import Agent, DefinitionError, ToolFailed, tool
from roost.builtin.concierge import concierge
from roost.errors import StepsExhausted, TurnStopped
from roost.prompt import LAST_STEP
from roost.testing import MemoryNotes, ScriptedModel, call, run_agent
from roost.turn import OpenCalls, TurnEnd, run_turn


async def test_concierge_calculates_through_its_tool() -> None:
    model = ScriptedModel(call("calculator", expression="17.5 * 4"), "That is 70.")
    run = await run_agent(concierge, "What is 17.5 times 4?", model=model)
    assert run.text == "That is 70."
    assert run.calls[0].outcome.text == "70"
    assert model.requests[1][-1]["content"] == "70"


async def test_concierge_keeps_notes_per_person() -> None:
    notes = MemoryNotes()
    model = ScriptedModel(call("remember", text="likes tea"), "Noted.")
    await run_agent(concierge, "I like tea", model=model, notes=notes)
    model = ScriptedModel(call("notes_list"), call("forget_note", number=1), "Gone.")
    run = await run_agent(concierge, "Forget it", model=model, notes=notes)
    assert [one.outcome.text for one in run.calls] == ["1: likes tea", "Note 1 is deleted."]
    assert await notes.list("tester") == ()


async def test_concierge_tells_the_time_only_where_it_knows_the_zone() -> None:
    model = ScriptedModel(
        [call("current_time", timezone="Europe/Paris"), call("current_time", timezone="../etc")],
        "Here.",
    )
    run = await run_agent(concierge, "Time?", model=model)
    assert [one.outcome.status for one in run.calls] == ["ok", "error"]
    assert "CE" in run.calls[0].outcome.text  # CET or CEST


async def test_calls_of_one_step_run_side_by_side() -> None:
    together = asyncio.Barrier(2)

    @tool(effect="pure", timeout=2)
    async def meet() -> str:
        """Wait for the other."""
        await together.wait()
        return "met"

    agent = Agent("pair", "Meet.", tools=[meet])
    run = await run_agent(agent, "go", model=ScriptedModel([call("meet"), call("meet")], "ok"))
    assert [one.outcome.text for one in run.calls] == ["met", "met"]


async def test_a_made_up_tool_is_told_to_the_model() -> None:
    model = ScriptedModel(call("fly"), "I can't fly.")
    run = await run_agent(concierge, "Fly!", model=model)
    assert run.calls[0].outcome.status == "error"
    assert "There is no tool 'fly'" in model.requests[1][-1]["content"]


async def test_the_last_step_is_asked_to_answer_without_tools() -> None:
    @tool(effect="pure")
    def again() -> str:
        """Ask again."""
        raise ToolFailed("not yet")

    agent = Agent("stubborn", "Try.", tools=[again], max_steps=3)
    model = ScriptedModel(call("again"), call("again"), "I give up.")
    run = await run_agent(agent, "go", model=model)
    assert (run.text, run.steps) == ("I give up.", 3)
    assert LAST_STEP in model.requests[2][-1]["content"]
    assert LAST_STEP not in str(model.requests[1])


async def test_a_conversation_goes_on() -> None:
    first = await run_agent(concierge, "I am Ada", model=ScriptedModel("Hello Ada"))
    model = ScriptedModel("Ada")
    await run_agent(concierge, "Who am I?", model=model, messages=first.messages)
    assert [message["role"] for message in model.requests[0]] == [
        "system",
        "user",
        "assistant",
        "user",
    ]


class Step:
    def __init__(self, finish: str, *call_ids: str) -> None:
        self.finish = finish
        self.call_ids = call_ids


class Ports:
    """Records what the loop does; `stop_in` raises there."""

    def __init__(self, *steps: Step, stop_in: str = "") -> None:
        self.steps = list(steps)
        self.stop_in = stop_in
        self.log: list[str] = []

    async def generate(self, step: int, *, last: bool) -> Step:
        self.log.append(f"generate {step}{' last' if last else ''}")
        return self.steps[step - 1]

    async def call_tool(self, step: int, call_id: str) -> None:
        self.log.append(f"begin {call_id}")
        if call_id == self.stop_in:
            raise TurnStopped
        await asyncio.sleep(0.01)
        self.log.append(f"end {call_id}")

    async def close_group(self, step: int) -> None:
        self.log.append(f"close {step}")


async def run(ports: Ports, max_steps: int = 4) -> object:
    return await run_turn(ports, max_steps=max_steps)  # type: ignore[arg-type]


async def test_groups_close_before_the_next_model_call() -> None:
    ports = Ports(Step("tools", "a", "b"), Step("answer"))
    await run(ports)
    assert ports.log[0] == "generate 1"
    assert ports.log[-2:] == ["close 1", "generate 2"]
    assert set(ports.log[1:-2]) == {"begin a", "begin b", "end a", "end b"}


async def test_a_turn_that_waited_goes_on_with_the_call_that_can_run_and_parks_for_the_other() -> (
    None
):
    ports, parked = Ports(Step("answer")), [True]
    ports.park = lambda step: asyncio.sleep(0, parked.pop())  # type: ignore[attr-defined]
    end = await run_turn(
        ports,  # type: ignore[arg-type]
        max_steps=4,
        open_calls=OpenCalls(ready=("a",), waiting=("b",)),
    )
    assert end == TurnEnd("waiting", 1)
    assert ports.log == ["begin a", "end a"]


async def test_a_turn_that_waited_asks_the_model_only_after_its_open_step() -> None:
    ports = Ports(Step("tools", "a"), Step("answer"))
    end = await run_turn(
        ports,  # type: ignore[arg-type]
        max_steps=4,
        open_calls=OpenCalls(ready=("a",)),
    )
    assert end == TurnEnd("answer", 2)
    assert ports.log == ["begin a", "end a", "close 1", "generate 2"]


async def test_a_stop_between_tools_waits_for_the_others_and_starts_nothing_later() -> None:
    ports = Ports(Step("tools", "a", "b"), stop_in="a")
    with pytest.raises(TurnStopped):
        await run(ports)
    assert "end b" in ports.log
    assert "close 1" not in ports.log


async def test_a_stopped_model_call_ends_the_turn() -> None:
    ports = Ports(Step("stopped"))
    with pytest.raises(TurnStopped):
        await run(ports)
    assert ports.log == ["generate 1"]


async def test_tools_in_the_last_step_are_an_error_not_a_loop() -> None:
    ports = Ports(Step("tools", "a"), Step("tools", "b"))
    with pytest.raises(StepsExhausted):
        await run(ports, max_steps=2)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"name": "Bad Name"}, "lower-case"),
        ({"instructions": "  "}, "instructions"),
        ({"max_steps": 0}, "max_steps"),
        ({"tools": [print]}, "must be a tool"),
        ({"tools": [concierge.tools[0]] * 2}, "two tools named"),
        ({"tools": [concierge.tools[0]] * 65}, "at most 64"),
    ],
)
def test_a_wrong_agent_is_refused_at_import(settings: dict[str, object], told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        Agent(**{"name": "good", "instructions": "Be good.", **settings})  # type: ignore[arg-type]
