"""An agent: a name, instructions and tools. Plain data; nothing runs here."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from roost.checks import require_type, shown
from roost.errors import DefinitionError
from roost.tools import Tool

# What happens to messages that arrive while a turn runs.
QueueMode = Literal["steer", "followup", "collect", "interrupt"]

QUEUE_MODES: Final[tuple[QueueMode, ...]] = get_args(QueueMode)
MAX_STEPS_DEFAULT: Final = 8
MAX_STEPS_LIMIT: Final = 100
MAX_CALLS_DEFAULT: Final = 64
MAX_CALLS_LIMIT: Final = 1000
MAX_TURN_TOKENS_DEFAULT: Final = 2_000_000
MAX_TURN_S_DEFAULT: Final = 3600.0
MAX_TURN_S_LIMIT: Final = 24 * 3600.0
MAX_REPEATS_DEFAULT: Final = 5
TOOLS_MAX: Final = 64
MAX_TOKENS_LIMIT: Final = 10_000_000  # engines refuse what no model can write
SEED_LIMIT: Final = 2**63
MODEL_NAME: Final = re.compile(r"\S{1,200}")
NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """How the model is asked; None leaves it to the engine. Raises DefinitionError.

    temperature: 0 or more. top_p: over 0, at most 1.
    repetition_penalty: over 0; above 1 makes tokens that came already less likely. Small models
        repeat themselves without it. The bundled core and vLLM know it, other engines ignore it.
    max_tokens: bounds one model call. stop: texts at which the answer ends.
    name: a model of the gateway, such as an alias of the settings; empty for the engine in use.
    """

    temperature: float | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    max_tokens: int | None = 1024
    seed: int | None = None
    stop: tuple[str, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        where, number = "ModelSettings", (int, float, type(None))
        for name in ("temperature", "top_p", "repetition_penalty"):
            require_type(where, name, getattr(self, name), number, "a number or None")
        for name in ("max_tokens", "seed"):
            require_type(
                where, name, getattr(self, name), (int, type(None)), "a whole number or None"
            )
        require_type(where, "name", self.name, str, "a text")
        require_type(where, "stop", self.stop, (tuple, list), "a tuple of texts")
        for text in self.stop:
            require_type(where, "each text of stop", text, str, "a text")
        object.__setattr__(self, "stop", tuple(self.stop))
        if self.temperature is not None and not self.temperature >= 0:
            raise DefinitionError(
                f"{where}: temperature must be 0 or more, not {self.temperature}."
            )
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise DefinitionError(f"{where}: top_p must be over 0 and at most 1, not {self.top_p}.")
        if self.repetition_penalty is not None and not self.repetition_penalty > 0:
            raise DefinitionError(
                f"{where}: repetition_penalty must be over 0, not {self.repetition_penalty}."
            )
        if self.max_tokens is not None and not 1 <= self.max_tokens <= MAX_TOKENS_LIMIT:
            raise DefinitionError(
                f"{where}: max_tokens must be 1 to {MAX_TOKENS_LIMIT}, not {self.max_tokens}."
            )
        if self.seed is not None and not -SEED_LIMIT <= self.seed < SEED_LIMIT:
            raise DefinitionError(f"{where}: seed must have at most 64 bits, not {self.seed}.")
        if "" in self.stop:
            raise DefinitionError(
                f"{where}: a text of stop is empty; every answer would end at it."
            )
        if self.name and not MODEL_NAME.fullmatch(self.name):
            raise DefinitionError(
                f"{where}: name must be a model's name without blanks, not {shown(self.name)}."
            )


@dataclass(frozen=True, slots=True)
class Agent:
    """Who answers. Raises DefinitionError for a field of a wrong type or value.

    instructions: the system prompt. What changes by the hour, such as the time, does not belong in
        it: nothing behind the change stays cached.
    tools: shown to the model by name, in every call the same.
    model: how the model is asked, or the name of a model of the gateway.
    max_steps: model calls in one turn; the last one is asked to answer without tools.
    max_calls: tool calls in one turn; further ones are not run. max_repeats: how often one turn
        runs a tool with the same arguments. max_turn_tokens: what the model calls of one turn may
        read and write together, where the engine counts it. Where one of these is reached, the
        model has to answer without tools, and people are told.
    max_turn_s: seconds that one turn may work; then it fails, and people are told.
    queue: what happens to messages that arrive while a turn runs, where neither the conversation
        nor its channel says it; None leaves it to the installation. `steer` shows them to the model
        at its next call, `followup` answers each by itself, `collect` answers together what comes
        in a row, `interrupt` stops the turn for the newest.
    """

    name: str
    instructions: str
    tools: Sequence[Tool] = ()
    model: ModelSettings | str = field(default_factory=ModelSettings)
    max_steps: int = MAX_STEPS_DEFAULT
    queue: QueueMode | None = None
    max_calls: int = MAX_CALLS_DEFAULT
    max_repeats: int = MAX_REPEATS_DEFAULT
    max_turn_tokens: int = MAX_TURN_TOKENS_DEFAULT
    max_turn_s: float = MAX_TURN_S_DEFAULT

    def __post_init__(self) -> None:
        require_type("Agent", "name", self.name, str, "a text")
        where = f"Agent {self.name!r}"
        if not NAME.fullmatch(self.name):
            raise DefinitionError(
                f"{where}: a name begins with a lower-case letter and has up to 64 lower-case "
                f'letters, digits, _ or -. Write such as "travel-guide".'
            )
        require_type(where, "instructions", self.instructions, str, "a text")
        if not self.instructions.strip():
            raise DefinitionError(
                f'{where} needs instructions. Write what it is for, such as "You book tables."'
            )
        require_type(where, "model", self.model, (ModelSettings, str), "ModelSettings or a name")
        object.__setattr__(self, "model", self.settings)
        self._check_limits(where)
        if self.queue is not None and self.queue not in QUEUE_MODES:
            modes = ", ".join(QUEUE_MODES)
            raise DefinitionError(
                f"{where}: queue must be one of {modes}, or None, not {shown(self.queue)}."
            )
        require_type(where, "tools", self.tools, (list, tuple), "a list or tuple of tools")
        self._check_tools(where)
        object.__setattr__(self, "tools", tuple(self.tools))

    def _check_limits(self, where: str) -> None:
        for name, most in (
            ("max_steps", MAX_STEPS_LIMIT),
            ("max_calls", MAX_CALLS_LIMIT),
            ("max_repeats", MAX_CALLS_LIMIT),
        ):
            value = getattr(self, name)
            require_type(where, name, value, int, "a whole number")
            if not 1 <= value <= most:
                raise DefinitionError(f"{where}: {name} must be 1 to {most}, not {value}.")
        require_type(where, "max_turn_tokens", self.max_turn_tokens, int, "a whole number")
        if self.max_turn_tokens < 1:
            raise DefinitionError(
                f"{where}: max_turn_tokens must be 1 or more, not {self.max_turn_tokens}."
            )
        require_type(where, "max_turn_s", self.max_turn_s, (int, float), "a number of seconds")
        if not 0 < self.max_turn_s <= MAX_TURN_S_LIMIT:
            raise DefinitionError(
                f"{where}: max_turn_s must be over 0 and at most {MAX_TURN_S_LIMIT:.0f}, "
                f"not {self.max_turn_s}."
            )

    def _check_tools(self, where: str) -> None:
        if len(self.tools) > TOOLS_MAX:
            raise DefinitionError(
                f"{where} has {len(self.tools)} tools; at most {TOOLS_MAX} fit. Give some of them "
                f"to another agent."
            )
        for index, tool in enumerate(self.tools):
            expected = "a tool, which is declared with @tool"
            require_type(where, f"tools[{index}]", tool, Tool, expected)
        names = [tool.name for tool in self.tools]
        for name in names:
            if names.count(name) > 1:
                raise DefinitionError(
                    f"{where} has two tools named {name!r}. Write @tool(name=…) for one of them."
                )

    @property
    def settings(self) -> ModelSettings:
        """How the model is asked."""
        return (
            self.model if isinstance(self.model, ModelSettings) else ModelSettings(name=self.model)
        )

    def tool(self, name: str) -> Tool | None:
        """The tool of that name, None when the model made one up."""
        return next((tool for tool in self.tools if tool.name == name), None)
