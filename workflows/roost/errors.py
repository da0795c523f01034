"""What an agent's code and its tools can say went wrong.

RoostError
├── DefinitionError    the developer's fault, raised at import: an agent or tool is declared wrongly
├── ModelRetry         raised by a tool: the model may correct its call and try again
├── ToolFailed         raised by a tool: it failed and asking again will not help
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
