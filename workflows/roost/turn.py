"""The turn loop: ask the model, run its tools, until it answers. Plain async over ports."""

import asyncio
from dataclasses import dataclass
from typing import Literal, Protocol

from roost.errors import StepsExhausted, TurnStopped

# length: cut off at the length limit. unfinished: the engine sent no end. filtered: its provider
# stopped it.
Finish = Literal["answer", "tools", "length", "empty", "stopped", "unfinished", "filtered"]


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
        """Call the model. Any finish but `tools` and `stopped` has ended the turn in storage."""
        ...

    async def call_tool(self, step: int, call_id: str) -> None:
        """Run one call of the step and commit its result."""
        ...

    async def close_group(self, step: int) -> None:
        """Commit the assistant message with all its results."""
        ...


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """How a turn ended, and after how many model calls."""

    finish: Finish
    steps: int


async def run_turn(ports: TurnPorts, *, max_steps: int) -> TurnEnd:
    """Run one turn to its answer in at most `max_steps` model calls, numbered from 1. Raises
    TurnStopped.

    Calls of one step run side by side; a stop in one is raised only after every one of them has
    ended, so nothing of a stopped turn is still running when its ports settle it.
    """
    for number in range(1, max_steps + 1):
        step = await ports.generate(number, last=number == max_steps)
        if step.finish == "stopped":
            raise TurnStopped
        if step.finish != "tools":
            return TurnEnd(step.finish, number)
        ended = await asyncio.gather(
            *(ports.call_tool(number, call_id) for call_id in step.call_ids), return_exceptions=True
        )
        for result in ended:
            if isinstance(result, BaseException):
                raise result
        await ports.close_group(number)
    raise StepsExhausted
