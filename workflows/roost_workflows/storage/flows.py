"""What flows need from storage: their journal, what it was begun with, and their end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from roost.effects import Effect
from roost.flows.advancing import FlowFacts
from roost.flows.journal import Entry
from roost_workflows.model_calls import Asked, Usage


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry with what storage knows beside it. step: its number in the journal, from 1, which
    with its path names the call. wait: what it waits for or has waited for, a WaitKind.
    """

    entry: Entry
    step: int
    effect: Effect = "pure"
    wait: str = ""

    @property
    def acts(self) -> bool:
        """Whether it may have done something outside, as an agent that worked for it may."""
        is_act = self.entry.op == "spawn" or (self.entry.op == "call" and self.effect != "pure")
        return is_act and self.entry.state not in ("planned", "skipped", "error")


@dataclass(frozen=True, slots=True)
class FlowRecord:
    """A turn that is a flow.

    name: of the flow. message: what the person wrote. input: what it was begun with, None before
    that. code_hash: of the code that began it. now: storage's time when this was read.
    is_child: whether another flow or agent gave it its message, and no person.
    """

    turn_id: str
    name: str
    message: str
    facts: FlowFacts
    cache_salt: str = ""
    input: Mapping[str, Any] | None = None
    code_hash: str = ""
    entries: tuple[StoredEntry, ...] = ()
    is_stopped: bool = False
    worker_deaths: int = 0
    now: float = 0.0
    is_child: bool = False

    @property
    def journal(self) -> tuple[Entry, ...]:
        """The entries alone."""
        return tuple(stored.entry for stored in self.entries)

    @property
    def is_undoing(self) -> bool:
        """Whether a compensation has begun: the flow can't go on any more."""
        return any(
            one.entry.op == "compensate" and one.entry.state != "planned" for one in self.entries
        )

    def stored(self, path: str) -> StoredEntry | None:
        """The entry of this path."""
        return next((one for one in self.entries if one.entry.path == path), None)


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry to keep, with the effect of its tool."""

    entry: Entry
    effect: Effect = "pure"


@dataclass(frozen=True, slots=True)
class Generated:
    """A model call of a flow: what it wrote and cost. error: why nothing of it can be used.

    asked: how the model was asked, None where the engine took no request.
    """

    text: str = ""
    error: str = ""
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    engine_message_id: str = ""
    started_at: float = 0.0
    asked: Asked | None = None


class FlowRuns(Protocol):
    """Flows. Each method is one transaction and safe to repeat.

    A turn that does not exist raises LookupError, one that does not run TurnOver where something
    would change.
    """

    async def read(self, turn_id: str) -> FlowRecord:
        """The flow as it is kept."""
        ...

    async def begin(
        self, turn_id: str, name: str, code_hash: str, input: Mapping[str, Any]
    ) -> None:
        """Keep what it is begun with, once."""
        ...

    async def add(self, turn_id: str, known: int, entries: Sequence[NewEntry]) -> bool:
        """Append to the journal. known: how many entries it had; False where it has others by now,
        and nothing is kept.
        """
        ...

    async def answer(self, turn_id: str, text: str) -> Literal["answer", "stopped"]:
        """End the turn with this answer, unless a stop is recorded."""
        ...

    async def finish_generate(self, turn_id: str, path: str, generated: Generated) -> None:
        """Keep the result of a `generate` entry and what it cost, once."""
        ...

    async def finish_wait(self, turn_id: str, path: str) -> None:
        """Keep the outcome of a question, an approval or a sleep that is over, once."""
        ...

    async def begin_undo(self, turn_id: str, path: str) -> int:
        """Mark a compensation running, also after a stop; which attempt this is, 0 where it has
        ended.
        """
        ...


class NoFlows:
    """Storage without flows."""

    async def read(self, turn_id: str) -> FlowRecord:
        """There is none."""
        raise LookupError(turn_id)

    async def begin(
        self, turn_id: str, name: str, code_hash: str, input: Mapping[str, Any]
    ) -> None:
        """There is none."""
        raise LookupError(turn_id)

    async def add(self, turn_id: str, known: int, entries: Sequence[NewEntry]) -> bool:
        """There is none."""
        raise LookupError(turn_id)

    async def answer(self, turn_id: str, text: str) -> Literal["answer", "stopped"]:
        """There is none."""
        raise LookupError(turn_id)

    async def finish_generate(self, turn_id: str, path: str, generated: Generated) -> None:
        """There is none."""
        raise LookupError(turn_id)

    async def finish_wait(self, turn_id: str, path: str) -> None:
        """There is none."""
        raise LookupError(turn_id)

    async def begin_undo(self, turn_id: str, path: str) -> int:
        """There is none."""
        raise LookupError(turn_id)
