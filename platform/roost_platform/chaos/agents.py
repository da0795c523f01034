"""Agents and a flow that do everything that waits, for a model that follows a rule."""

import os
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass

from roost import Agent, Context, FlowContext, flow, tool
from roost.builtin import delegate, remind, schedule
from roost.flow import Flow
from roost.tools import Tool
from roost.waits import Ask, Question, Sleep, Spawn
from roost_workflows.agents import AgentRegistry

EFFECTS = "CHAOS_EFFECTS"  # names the file in which real workers note what took effect
ASK_S = 25.0


async def _to_file(what: str) -> None:
    """Note the effect where the worker's end does not reach."""
    path = os.environ.get(EFFECTS)
    if path:
        with open(path, "a") as file:
            file.write(f"{what}\n")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where tools act. act: takes effect outside, once for each time it is called with the key of
    a call and its mark; now: the time in seconds since the epoch.
    """

    act: Callable[[str], Awaitable[None]] = _to_file
    now: Callable[[], float] = time.time


_OF_PROCESSES = Surroundings()
surroundings: ContextVar[Surroundings] = ContextVar("surroundings", default=_OF_PROCESSES)


@tool(effect="pure")
async def clock(mark: str) -> str:
    """Tell the time."""
    return "noon"


@tool(effect="unsafe", approval="ask")
async def pay(ctx: Context, mark: str) -> str:
    """Pay a bill, which somebody has to approve."""
    await surroundings.get().act(f"{ctx.key} {mark}")
    return f"paid {mark}"


@tool(effect="unsafe", approval="ask", name="pay")
async def pay_edited(ctx: Context, mark: str) -> str:
    """Pay a bill at once, which somebody has to approve: the tool after an edit."""
    await surroundings.get().act(f"{ctx.key} {mark}")
    return f"paid {mark}"


@tool(effect="unsafe")
async def send(ctx: Context, mark: str) -> str:
    """Send a letter."""
    await surroundings.get().act(f"{ctx.key} {mark}")
    return f"sent {mark}"


@tool(effect="pure")
async def ask(mark: str) -> Ask:
    """Ask which colour."""
    return Ask((Question(f"Which colour, {mark}?", ("red", "blue")),), ASK_S)


@tool(effect="pure")
async def form(mark: str) -> Ask:
    """Ask two things."""
    size = Question(f"Which size, {mark}?", ("small", "large"), free_text=False)
    return Ask((size, Question(f"For whom, {mark}?")), ASK_S)


@tool(effect="pure")
async def nap(mark: str, seconds: int) -> Sleep:
    """Sleep for some seconds."""
    return Sleep(surroundings.get().now() + seconds)


@tool(effect="idempotent")
async def put_back(ctx: Context, mark: str) -> str:
    """Undo `take`."""
    return f"put {mark} back"


@tool(effect="idempotent")
async def take(ctx: Context, mark: str) -> str:
    """Take something from the shelf."""
    return f"took {mark}"


@flow
async def errand(ctx: FlowContext, message: str) -> str:
    """Take something, ask, do two things at once, and pay."""
    mark = message.split()[-1]
    await ctx.call(take, mark=mark)
    ctx.compensate(put_back, mark=mark)
    go_on = await ctx.approve(f"Go on with {mark}?", timeout=ASK_S)
    await ctx.gather(ctx.call(clock, mark=mark), ctx.sleep(2.0))
    if go_on:
        await ctx.call(send, mark=mark)
    return f"{mark}: {go_on}"


@flow(name="errand")
async def errand_edited(ctx: FlowContext, message: str) -> str:
    """The errand after an edit: it begins with another step."""
    await ctx.call(clock, mark=message.split()[-1])
    return message


@tool(effect="pure", name="flow")
async def begin_errand(mark: str) -> Spawn:
    """Have the errand done."""
    return Spawn(errand.name, f"Please do {mark}")


def crew(pay: Tool, errand: Flow) -> tuple[Agent, Flow]:
    """The agent that people talk to, with those who work for it, and the flow."""
    tools = [clock, pay, send, ask, form, nap, begin_errand]
    aide = Agent("aide", "You work for a helper.", tools=tools)
    helper = Agent(
        "helper", "You work for the steward.", tools=[*tools, delegate(aide, name="helper")]
    )
    steward = Agent(
        "steward",
        "You work for people.",
        tools=[
            *(*tools, remind, schedule, delegate(helper)),
            delegate(helper, wait=False, name="background"),
        ],
    )
    return steward, errand


AGENTS: list[Agent | Flow] = [*crew(pay, errand)]
REGISTRY = AgentRegistry.of(*AGENTS)
# What is installed after somebody edited a tool, or the flow.
EDITED = {
    "tool": AgentRegistry.of(*crew(pay_edited, errand)),
    "flow": AgentRegistry.of(*crew(pay, errand_edited)),
}
