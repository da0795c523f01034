"""What a tool returns to wait for a person, an agent or a time; the outcome is the call's result.

Nothing runs while a call waits: its turn is parked in storage, and a decision, an answer or the
due time brings it back, in whatever process runs then.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from roost.errors import DefinitionError

# What a waiting call waits for.
WaitKind = Literal["approval", "question", "child", "sleep"]
ContextKind = Literal["brief", "fork"]

QUESTIONS_MAX: Final = 3
OPTIONS_MAX: Final = 10  # the longest list that WhatsApp shows
OPTION_CHARS_MAX: Final = 60
QUESTION_CHARS_MAX: Final = 600
WAIT_S_MAX: Final = 90 * 24 * 3600.0
WAIT_S_DEFAULT: Final = 24 * 3600.0
TASK_CHARS_MAX: Final = 20_000


@dataclass(frozen=True, slots=True)
class Question:
    """One question to the person. Raises DefinitionError.

    options: what they may choose from, shown as buttons where the channel has some.
    free_text: whether words of their own are an answer as well; without options they always are.
    """

    text: str
    options: tuple[str, ...] = ()
    free_text: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))
        if not self.text.strip() or len(self.text) > QUESTION_CHARS_MAX:
            raise DefinitionError(f"A question has 1 to {QUESTION_CHARS_MAX} characters.")
        if len(self.options) > OPTIONS_MAX:
            raise DefinitionError(f"A question has at most {OPTIONS_MAX} options.")
        for option in self.options:
            if not option.strip() or len(option) > OPTION_CHARS_MAX:
                raise DefinitionError(f"An option has 1 to {OPTION_CHARS_MAX} characters.")
        if len({option.casefold() for option in self.options}) < len(self.options):
            raise DefinitionError("Two options of a question are the same.")


@dataclass(frozen=True, slots=True)
class Ask:
    """Wait for the person to answer one question, or a form of up to three. Raises DefinitionError.

    timeout_s: how long; then the result says that there is no answer.
    """

    questions: tuple[Question, ...]
    timeout_s: float = WAIT_S_DEFAULT

    def __post_init__(self) -> None:
        object.__setattr__(self, "questions", tuple(self.questions))
        if not 1 <= len(self.questions) <= QUESTIONS_MAX:
            raise DefinitionError(f"A form has 1 to {QUESTIONS_MAX} questions.")
        if len({question.text for question in self.questions}) < len(self.questions):
            raise DefinitionError("Two questions of a form are the same.")
        check_wait_s(self.timeout_s)


@dataclass(frozen=True, slots=True)
class Approve:
    """Wait for a yes or a no. The result is `approved`, or `denied` with the reason.

    approver: who may decide, as in `@tool`.
    """

    text: str
    approver: str = "requester"
    timeout_s: float = WAIT_S_DEFAULT

    def __post_init__(self) -> None:
        if not self.text.strip() or len(self.text) > QUESTION_CHARS_MAX:
            raise DefinitionError(f"What is approved has 1 to {QUESTION_CHARS_MAX} characters.")
        check_wait_s(self.timeout_s)


@dataclass(frozen=True, slots=True)
class Spawn:
    """Give a task to another agent, which works in a conversation of its own.

    context: `brief` shows it the task alone, `fork` all that was said here before.
    wait: whether the call waits for the answer; else the answer comes as a message of its own.
    schema: the JSON schema of the answer, None for text.
    max_tokens, max_steps: what the child and its own children may use, None for the agent's limits.
    """

    agent: str
    task: str
    context: ContextKind = "brief"
    wait: bool = True
    schema: Mapping[str, Any] | None = None
    max_tokens: int | None = None
    max_steps: int | None = None

    def __post_init__(self) -> None:
        if not self.task.strip() or len(self.task) > TASK_CHARS_MAX:
            raise DefinitionError(f"A task has 1 to {TASK_CHARS_MAX} characters.")


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait until a time, in seconds since the epoch."""

    until: float


Wait = Ask | Approve | Spawn | Sleep


def check_wait_s(seconds: float) -> None:
    """Raise DefinitionError for a wait that is no time or too long."""
    if not 0 < seconds <= WAIT_S_MAX:
        raise DefinitionError(f"A wait lasts over 0 and at most {WAIT_S_MAX / 86400:.0f} days.")
