"""What an agent's code and its tools can say went wrong.

RoostError
├── DefinitionError    the developer's fault, raised at import: an agent or tool is declared wrongly
├── ModelRetry         raised by a tool: the model may correct its call and try again
├── ToolFailed         raised by a tool: it failed and asking again will not help
├── Stopped            raised in a flow at the step it waits for, once somebody stopped it
├── FlowError          raised in a flow, which may catch it
│   ├── CallFailed         a tool that it called did not do its work
│   ├── GenerateFailed     the model wrote nothing that can be used
│   ├── SpawnFailed        the agent that it gave a task to has no answer
│   ├── NoAnswer           nobody answered a question in time
│   ├── FlowLimit          it goes beyond a bound, such as that of its steps
│   └── FlowEdited         its code does not fit what it did before; a flow can't catch it
├── TurnStopped        the turn was stopped; raised by a turn's ports, never by tools
└── StepsExhausted     a turn asked for tools in its last model call; its ports are at fault
"""

import sys
from pathlib import Path
from types import FrameType
from typing import Final

# Roost's other packages. What they make at run time no developer has declared.
OURS: Final = frozenset(("roost_workflows", "roost_platform", "roost_channels", "roost_inference"))
# What starts tasks and threads; the code behind it only waits for them.
STARTERS: Final = frozenset(("asyncio", "threading", "concurrent"))


class RoostError(Exception):
    """Something went wrong in an agent."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (self.__doc__ or "").strip())


class DefinitionError(RoostError):
    """An agent or tool is declared wrongly.

    problem: what is wrong, and how to mend it. place: `path:line` of the developer's declaration,
    with which the message begins; empty where no developer's code has declared anything.
    """

    def __init__(self, problem: str = "") -> None:
        self.problem = problem or (self.__doc__ or "").splitlines()[0]
        self.place = _place_of_declaration()
        super().__init__(f"{self.place}: {self.problem}" if self.place else self.problem)


def _place_of_declaration() -> str:
    """Where the declaration stands that is under way: the innermost frame that is neither of this
    package nor of the standard library, which copies dataclasses.
    """
    here = Path(__file__).parent
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        path = frame.f_code.co_filename
        if package in OURS or package in STARTERS:
            return ""
        is_roost = package == __name__.partition(".")[0] or here in Path(path).parents
        if not is_roost and package not in sys.stdlib_module_names:
            return f"{path}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


class ModelRetry(RoostError):
    """The call can't be run as it is; correct it and try again."""


class ToolFailed(RoostError):
    """The tool failed."""


class TurnStopped(RoostError):
    """The turn was stopped."""


class StepsExhausted(RoostError):
    """The turn used all its steps without an answer."""


class Stopped(RoostError):
    """The flow was stopped."""


class FlowError(RoostError):
    """A flow can't go on as it is written."""


class CallFailed(FlowError):
    """A tool did not do its work. status: error, cancelled, unknown or skipped, as calls end."""

    def __init__(self, tool: str, status: str, text: str) -> None:
        super().__init__(f"{tool}: {text}")
        self.tool = tool
        self.status = status
        self.text = text


class GenerateFailed(FlowError):
    """The model wrote nothing that can be used."""


class SpawnFailed(FlowError):
    """The agent has no answer."""


class NoAnswer(FlowError):
    """Nobody answered in time."""


class FlowLimit(FlowError):
    """The flow goes beyond a bound."""


class FlowEdited(FlowError):
    """The flow's code does not fit what it did before. step: the first that differs, from 1."""

    def __init__(self, message: str = "", step: int = 0) -> None:
        super().__init__(message)
        self.step = step
