"""Flows in a test: the real journal and real tools, without Temporal, engine and database."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from roost.errors import RoostError
from roost.flow import Flow
from roost.flows.advancing import Advance, advance
from roost.flows.driving import Shown
from roost.flows.journal import Entry
from roost.testing.agents import MemoryNotes, ScriptedModel
from roost.testing.flow_steps import Killed, LocalSteps
from roost.testing.people import Answers, Approvals, Children, People

ROUNDS_MAX: Final = 10_000
BEGAN_AT: Final = 1_800_000_000.0


@dataclass(frozen=True, slots=True)
class FlowRun:
    """How a flow of a test ended, or that it waits for what the test does not give.

    error: why it failed. journal: give it to another `run_flow` to go on from there.
    asked: what people were asked. undone: (tool, status) of compensations, in the order in which
    they ran. slept_s: how far the clock jumped. commits: how often something was kept.
    """

    state: Literal["done", "failed", "stopped", "waiting"]
    text: str
    error: BaseException | None
    journal: tuple[Entry, ...]
    asked: tuple[str, ...]
    undone: tuple[tuple[str, str], ...]
    slept_s: float
    shown: Shown | None
    commits: int


async def run_flow(
    flow: Flow,
    message: str = "",
    *,
    input: Mapping[str, Any] | None = None,
    model: ScriptedModel | None = None,
    answers: Answers = (),
    approvals: Approvals = (),
    children: Children | None = None,
    notes: MemoryNotes | None = None,
    journal: Sequence[Entry] = (),
    now: float = BEGAN_AT,
    stop_after: int | None = None,
    kills: Collection[int] = (),
) -> FlowRun:
    """Run a flow on a message, or on the input of its fields, until it ends or waits.

    model: what `generate` gets. answers, approvals: of people, in order, or by the question, or a
    function of it; None for an answer: nobody answers in time. children: what spawned agents
    answer, by their names. Where one of these ends, the run ends with the state `waiting`.
    now: the time at which it begins; sleeps let it jump. stop_after: it is stopped once this many
    steps have ended. kills: the commits, numbered from 1, before which its process dies; another
    one goes on with what was kept.
    """
    values = flow.parse(message) if input is None else flow.parse_input(input)
    steps = LocalSteps(
        flow,
        People(answers, approvals, children),
        model or ScriptedModel(),
        notes or MemoryNotes(),
        journal,
        kills=frozenset(kills),
        now=now,
    )
    for _ in range(ROUNDS_MAX):
        try:
            ended = await _round(flow, values, steps, stop_after)
        except Killed:
            steps.revive()
            continue
        if ended is not None:
            state, how = ended
            return FlowRun(
                state=state,
                text=how.text,
                error=how.error,
                journal=steps.journal,
                asked=tuple(steps.people.asked),
                undone=tuple(steps.undone),
                slept_s=steps.now - now,
                shown=how.shown,
                commits=steps.commits,
            )
    raise RoostError(f"The flow did not end in {ROUNDS_MAX} rounds.")


async def kill_at_every_step(run: Callable[[Collection[int]], Awaitable[FlowRun]]) -> list[FlowRun]:
    """Run a flow once as it is, then once for each of its commits with a kill before it.

    run: runs the flow with the kills it is given: `lambda kills: run_flow(trip, kills=kills)`.
    Returns all runs, the undisturbed one first.
    """
    first = await run(())
    return [first, *[await run((number,)) for number in range(1, first.commits + 1)]]


async def _round(
    flow: Flow, values: Mapping[str, Any], steps: LocalSteps, stop_after: int | None
) -> tuple[Literal["done", "failed", "stopped", "waiting"], Advance] | None:
    """One advance and all that can run after it; how the flow ended, None while it goes on."""
    is_stopped = stop_after is not None and steps.ended >= stop_after
    how = advance(flow, values, steps.journal, stopped=is_stopped, clock=lambda: steps.now)
    if how.new:
        steps.add(how.new)
    if how.state == "done":
        return "done", how
    if how.state in ("failed", "stopped"):
        await steps.undo(how.undo)
        return ("stopped" if how.state == "stopped" else "failed"), how
    ran = await asyncio.gather(
        *(steps.run(path, step) for path, step in how.steps.items()), return_exceptions=True
    )
    for result in ran:
        if isinstance(result, BaseException):
            raise result
    if any(ran) or steps.jump():
        return None
    return "waiting", how
