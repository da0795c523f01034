"""What a tool returns to wait for a person, an agent or a time; the outcome is the call's result.

Nothing runs while a call waits: its turn is parked in storage, and a decision, an answer or the
due time brings it back, in whatever process runs then.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args

from roost.checks import require_sendable, require_type, shown
from roost.errors import DefinitionError

# What a waiting call waits for.
WaitKind = Literal["approval", "question", "child", "sleep"]
ContextKind = Literal["brief", "fork"]
Approver = Literal["requester", "operator", "another"]

APPROVERS: Final[tuple[Approver, ...]] = get_args(Approver)
CONTEXTS: Final[tuple[ContextKind, ...]] = get_args(ContextKind)
QUESTIONS_MAX: Final = 3
OPTIONS_MAX: Final = 10  # the longest list that WhatsApp shows
OPTION_CHARS_MAX: Final = 60
QUESTION_CHARS_MAX: Final = 600
WAIT_S_MAX: Final = 90 * 24 * 3600.0
WAIT_S_DEFAULT: Final = 24 * 3600.0
TASK_CHARS_MAX: Final = 20_000
NO_RESULT: Final = "It ended without an answer."  # of an agent that had a task


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
        _check_text("A question", self.text, QUESTION_CHARS_MAX)
        require_type("A question", "options", self.options, (list, tuple), "a list of texts")
        object.__setattr__(self, "options", tuple(self.options))
        if len(self.options) > OPTIONS_MAX:
            raise DefinitionError(
                f"A question has at most {OPTIONS_MAX} options, not {len(self.options)}. Ask in "
                f"two steps, or in free text."
            )
        for option in self.options:
            _check_text("An option", option, OPTION_CHARS_MAX)
        if len({option.casefold() for option in self.options}) < len(self.options):
            raise DefinitionError("Two options of a question are the same. Leave one of them out.")


@dataclass(frozen=True, slots=True)
class Ask:
    """Wait for the person to answer one question, or a form of up to three. Raises DefinitionError.

    timeout_s: how long; then the result says that there is no answer.
    """

    questions: tuple[Question, ...]
    timeout_s: float = WAIT_S_DEFAULT

    def __post_init__(self) -> None:
        require_type("A form", "questions", self.questions, (list, tuple), "a list of questions")
        object.__setattr__(self, "questions", tuple(self.questions))
        for question in self.questions:
            require_type("A form", "each question", question, Question, "a Question")
        if not 1 <= len(self.questions) <= QUESTIONS_MAX:
            raise DefinitionError(
                f"A form has 1 to {QUESTIONS_MAX} questions, not {len(self.questions)}. Ask the "
                f"rest in another one."
            )
        if len({question.text for question in self.questions}) < len(self.questions):
            raise DefinitionError("Two questions of a form are the same. Ask one of them.")
        check_wait_s(self.timeout_s)


@dataclass(frozen=True, slots=True)
class Approve:
    """Wait for a yes or a no. The result is `approved`, or `denied` with the reason.

    approver: who may decide, as in `@tool`.
    """

    text: str
    approver: Approver = "requester"
    timeout_s: float = WAIT_S_DEFAULT

    def __post_init__(self) -> None:
        _check_text("What is approved", self.text, QUESTION_CHARS_MAX)
        check_approver("An approval", self.approver)
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
        require_type("A task", "agent", self.agent, str, "the name of an agent")
        _check_text("A task", self.task, TASK_CHARS_MAX)
        if self.context not in CONTEXTS:
            raise DefinitionError(
                f"A task: context must be one of {', '.join(CONTEXTS)}, not {shown(self.context)}."
            )
        if self.schema is not None:
            require_type("A task", "schema", self.schema, Mapping, "a JSON schema")
            require_sendable("A task", "its schema", dict(self.schema))
        for name, most in (("max_tokens", self.max_tokens), ("max_steps", self.max_steps)):
            if most is None:
                continue
            require_type("A task", name, most, int, "a whole number or None")
            if most < 1:
                raise DefinitionError(f"A task: {name} must be 1 or more, not {most}.")


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait until a time, in seconds since the epoch. Raises DefinitionError."""

    until: float

    def __post_init__(self) -> None:
        require_type("A sleep", "its end", self.until, (int, float), "a number of seconds")


Wait = Ask | Approve | Spawn | Sleep
WAITS: Final = {kind.__name__: kind for kind in (Ask, Approve, Spawn, Sleep)}


def fields_of(wait: Wait) -> dict[str, Any]:
    """The wait as JSON can carry it from one process to another; `wait_of` reads it."""
    return {"kind": type(wait).__name__, **asdict(wait)}


def wait_of(fields: Mapping[str, Any]) -> Wait:
    """The wait that `fields_of` wrote. Raises DefinitionError."""
    given = dict(fields)
    kind = WAITS[given.pop("kind")]
    if kind is Ask:
        given["questions"] = tuple(Question(**question) for question in given["questions"])
    return kind(**given)


def check_approver(where: str, approver: object) -> None:
    """Raise DefinitionError for one who can't decide."""
    if approver not in APPROVERS:
        words = ", ".join(APPROVERS)
        raise DefinitionError(f"{where}: approver must be one of {words}, not {shown(approver)}.")


def check_wait_s(seconds: float) -> None:
    """Raise DefinitionError for a wait that is no time or too long."""
    require_type("A wait", "its time", seconds, (int, float), "a number of seconds")
    if not 0 < seconds <= WAIT_S_MAX:
        raise DefinitionError(
            f"A wait lasts over 0 s and at most {WAIT_S_MAX / 86400:.0f} days "
            f"({WAIT_S_MAX:.0f} s), not {seconds} s."
        )


def _check_text(what: str, text: str, chars_max: int) -> None:
    require_type(what, "its text", text, str, "a text")
    if not text.strip():
        raise DefinitionError(f"{what} needs a text.")
    if len(text) > chars_max:
        raise DefinitionError(f"{what} has at most {chars_max} characters, not {len(text)}.")
