"""An agent: a name, instructions and tools. Plain data; nothing runs here."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from roost.errors import DefinitionError
from roost.tools import Tool

MAX_STEPS_DEFAULT: Final = 8
MAX_STEPS_LIMIT: Final = 100
TOOLS_MAX: Final = 64
NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """How the model is asked; None leaves it to the engine. max_tokens bounds one model call.

    repetition_penalty: above 1 makes tokens that came already less likely; small models go in
        circles without. The bundled core and vLLM know it, other engines answer without it.
    """

    temperature: float | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    max_tokens: int | None = 1024
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Agent:
    """Who answers.

    instructions: the system prompt; keep out of it what changes by the hour, such as the time, or
        nothing behind it stays cached. tools: shown to the model by name, in every call the same.
    max_steps: model calls in one turn; the last one is asked to answer without tools.

    Messages that arrive while a turn runs are shown to the model at its next call.
    """

    name: str
    instructions: str
    tools: Sequence[Tool] = ()
    model: ModelSettings = field(default_factory=ModelSettings)
    max_steps: int = MAX_STEPS_DEFAULT

    def __post_init__(self) -> None:
        where = f"Agent {self.name!r}"
        if not NAME.fullmatch(self.name):
            raise DefinitionError(
                f"{where}: a name is lower-case letters, digits, _ or -, up to 64."
            )
        if not self.instructions.strip():
            raise DefinitionError(f"{where} needs instructions.")
        if not 1 <= self.max_steps <= MAX_STEPS_LIMIT:
            raise DefinitionError(f"{where}: max_steps must be 1 to {MAX_STEPS_LIMIT}.")
        if len(self.tools) > TOOLS_MAX:
            raise DefinitionError(f"{where} has {len(self.tools)} tools; at most {TOOLS_MAX} fit.")
        for tool in self.tools:
            if not isinstance(tool, Tool):
                raise DefinitionError(f"{where}: {tool!r} is not a tool. Declare it with @tool.")
        names = [tool.name for tool in self.tools]
        for name in names:
            if names.count(name) > 1:
                raise DefinitionError(f"{where} has two tools named {name!r}.")
        object.__setattr__(self, "tools", tuple(self.tools))

    def tool(self, name: str) -> Tool | None:
        """The tool of that name, None when the model made one up."""
        return next((tool for tool in self.tools if tool.name == name), None)
