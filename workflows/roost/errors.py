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


class RoostError(Exception):
    """Something went wrong in an agent."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (self.__doc__ or "").strip())


class DefinitionError(RoostError):
    """An agent or tool is declared wrongly."""


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
    """The flow's code does not fit what it did before."""
