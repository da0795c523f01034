"""The turn loop: ask the model, run its tools, until it answers. Plain async over ports."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from roost.errors import StepsExhausted, TurnStopped

# length: cut off at the length limit. unfinished: the engine sent no end. filtered: its provider
# stopped it. waiting: nothing can go on before a person, a child or a time.
Finish = Literal[
    "answer", "tools", "length", "empty", "stopped", "unfinished", "filtered", "waiting"
]


class ModelStep(Protocol):
    """What one model call decided."""

    @property
    def finish(self) -> Finish:
        """What the model decided."""
        ...

    @property
    def call_ids(self) -> tuple[str, ...]:
        """The tool calls to run when it decided `tools`."""
        ...


class TurnPorts(Protocol):
    """What a turn can do.

    Each method commits before it returns and is safe to repeat; a stop raises TurnStopped.
    """

    async def generate(self, step: int, *, last: bool) -> ModelStep:
        """Call the model, or the function of a flow. Any finish but `tools`, `waiting` and
        `stopped` has ended the turn in storage.
        """
        ...

    async def call_tool(self, step: int, call_id: str) -> bool:
        """Run one call of the step and commit its result; whether it waits instead."""
        ...

    async def close_group(self, step: int) -> None:
        """Commit the assistant message with all its results."""
        ...

    async def park(self, step: int) -> bool:
        """Let the turn wait in storage; False when something it waits for is there already."""
        ...


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """How a turn ended, and after how many model calls; with `waiting` it goes on later."""

    finish: Finish
    steps: int


@dataclass(frozen=True, slots=True)
class OpenCalls:
    """Calls of the step with which a turn goes on: those that can run, and those that wait."""

    ready: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


async def run_turn(
    ports: TurnPorts, *, max_steps: int, first_step: int = 1, open_calls: OpenCalls | None = None
) -> TurnEnd:
    """Run one turn to its answer in at most `max_steps` model calls, numbered from 1. Raises
    TurnStopped.

    first_step: where to go on in a turn that has waited. open_calls: calls of that step that have
    not ended; where one can run, the model, which has decided it, is not asked again.
    Calls of one step run side by side; a stop in one is raised only after every one of them has
    ended, so nothing of a stopped turn is still running when its ports settle it.
    """
    if open_calls is not None and open_calls.ready:
        waiting = [*await run_calls(ports, first_step, open_calls.ready), *open_calls.waiting]
        if not await close_step(ports, first_step, waiting):
            return TurnEnd("waiting", first_step)
        first_step += 1
    for number in range(first_step, max_steps + 1):
        step = await ports.generate(number, last=number == max_steps)
        if step.finish == "stopped":
            raise TurnStopped
        if step.finish == "waiting":
            if await ports.park(number):
                return TurnEnd("waiting", number)
            continue
        if step.finish != "tools":
            return TurnEnd(step.finish, number)
        waiting = await run_calls(ports, number, step.call_ids)
        if not await close_step(ports, number, waiting):
            return TurnEnd("waiting", number)
    raise StepsExhausted


async def close_step(ports: TurnPorts, step: int, waiting: Sequence[str]) -> bool:
    """Close the step once none of its calls waits any more; False where the turn parks."""
    while waiting:
        if await ports.park(step):
            return False
        waiting = await run_calls(ports, step, waiting)
    await ports.close_group(step)
    return True


async def run_calls(ports: TurnPorts, step: int, call_ids: Sequence[str]) -> list[str]:
    """Run calls side by side to their end; those that wait for something."""
    ended = await asyncio.gather(
        *(ports.call_tool(step, call_id) for call_id in call_ids), return_exceptions=True
    )
    for result in ended:
        if isinstance(result, BaseException):
            raise result
    return [id for id, waits in zip(call_ids, ended, strict=True) if waits]
