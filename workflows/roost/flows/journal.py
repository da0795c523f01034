"""A flow's journal: what its function asked for, in order, and what became of it."""

import hashlib
import json
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar, cast

from pydantic_core import PydanticSerializationError, to_jsonable_python

from roost.checks import shown
from roost.errors import FlowError, FlowLimit

Result = TypeVar("Result")

Op = Literal[
    "generate", "call", "ask", "approve", "sleep", "spawn", "now", "random", "uuid", "compensate"
]
# As the states of tool calls in storage; the last five are ends.
EntryState = Literal[
    "planned", "waiting", "ready", "running", "ok", "error", "cancelled", "unknown", "skipped"
]

ENDED: Final[frozenset[str]] = frozenset({"ok", "error", "cancelled", "unknown", "skipped"})
STEPS_MAX: Final = 1000
BRANCHES_MAX: Final = 64
RESULT_BYTES_MAX: Final = 256 * 1024  # also of what a step is given
TAKEN_BYTES_MAX: Final = RESULT_BYTES_MAX + 64  # of a tool's result, to see that it is too long
SHOWN_MAX: Final = 60  # characters of a step's subject in an error


@dataclass(frozen=True, slots=True)
class Entry:
    """One step of a flow as it is kept.

    path: where in the function it stands: `4` is the fifth step, `2/1/0` the first one in the
        second branch of a `gather` that is the third. name: its subject, such as a tool's name.
    arguments: JSON text of all it was asked with. result: text, or JSON text, by its op.
    """

    path: str
    op: Op
    name: str
    arguments: str
    state: EntryState = "planned"
    result: str = ""

    @property
    def args_hash(self) -> str:
        """A SHA-256 of what it was asked with."""
        return arguments_hash(self.arguments)

    @property
    def words(self) -> str:
        """The step as errors name it: `ask('Which day?')`."""
        return step_words(self.op, self.name)


class Step(Generic[Result]):
    """What a flow awaits: one step, with what is needed to run it.

    made_at: the file and line of the function that made it, where that is known.
    target: the tool or agent object; it is in no journal, the function gives it again each time.
    decode: the value that the function gets for an entry that ended well; raises FlowError.
    refusal: why the step can't begin at this time, empty where it can; kept as its error.
    """

    __slots__ = ("arguments", "decode", "is_awaited", "made_at", "name", "op", "refusal", "target")

    def __init__(
        self,
        op: Op,
        name: str,
        arguments: Mapping[str, Any],
        decode: Callable[[Entry], Result],
        target: object = None,
    ) -> None:
        self.op = op
        self.name = name
        self.arguments = json_text(f"{op} {name}".strip(), arguments)
        self.decode = decode
        self.target = target
        self.is_awaited = False
        self.made_at = ""
        self.refusal: Callable[[float], str] | None = None

    def __await__(self) -> Generator["Step[Result]", Any, Result]:
        return cast(Result, (yield self))

    @property
    def words(self) -> str:
        """The step as errors name it."""
        return step_words(self.op, self.name)

    def fits(self, entry: Entry) -> bool:
        """Whether the entry is of this very step."""
        return (self.op, self.name, arguments_hash(self.arguments)) == (
            entry.op,
            entry.name,
            entry.args_hash,
        )


class Gather:
    """What a flow awaits to run several branches side by side."""

    __slots__ = ("branches",)

    def __init__(self, branches: tuple[Awaitable[Any], ...]) -> None:
        for branch in branches:
            if not isinstance(branch, Awaitable):
                raise FlowError(
                    f"gather: each branch is a step or a coroutine, not {shown(branch)}. Of a "
                    f"list write `await ctx.gather(*branches)`."
                )
        self.branches = branches

    def __await__(self) -> Generator["Gather", Any, tuple[Any, ...]]:
        return cast(tuple[Any, ...], (yield self))


def step_words(op: str, name: str) -> str:
    """`call('book')`, or `now()` where a step has no subject."""
    short = name if len(name) <= SHOWN_MAX else f"{name[:SHOWN_MAX]}…"
    return f"{op}({short!r})" if name else f"{op}()"


def json_text(where: str, value: Any) -> str:
    """Canonical JSON text: equal for equal values. Raises FlowError for what JSON can't hold."""
    try:
        text = json.dumps(
            to_jsonable_python(value), ensure_ascii=False, sort_keys=True, allow_nan=False
        )
        size = len(text.encode())
    except (PydanticSerializationError, TypeError, ValueError, RecursionError) as error:
        raise FlowError(f"{where}: an argument can't be kept as JSON: {error}") from None
    if size > RESULT_BYTES_MAX:
        raise FlowLimit(
            f"{where}: it was given {size} bytes, and a step keeps at most {RESULT_BYTES_MAX}."
        )
    return text


def arguments_hash(arguments: str) -> str:
    """A SHA-256 of canonical JSON text."""
    return hashlib.sha256(arguments.encode("utf-8", "surrogatepass")).hexdigest()
