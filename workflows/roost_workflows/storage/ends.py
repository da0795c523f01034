"""How turns end that have no answer, and news of their stops."""

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Settled:
    """How a stopped or failed turn ended, counted in tool calls. `already`: it had ended before.

    undone_tools, unknown_tools: the names of these calls' tools, each once. agents: how many worked
    for it and were stopped with it; their calls are counted, too. compensated, not_compensated: the
    tools with which a flow undid its work, and those that did not do it.
    """

    done: int = 0
    undone: int = 0
    unknown: int = 0
    elapsed_s: float = 0.0
    already: bool = False
    undone_tools: Sequence[str] = ()
    unknown_tools: Sequence[str] = ()
    agents: int = 0
    compensated: Sequence[str] = ()
    not_compensated: Sequence[str] = ()

    @property
    def calls(self) -> int:
        """How many tool calls there were."""
        return self.done + self.undone + self.unknown


class RecordedStops(Protocol):
    """News of stops, for those who run something that a stop ends."""

    def among(self, running: Callable[[], Collection[str]]) -> AsyncGenerator[frozenset[str], None]:
        """Which of the turns that `running` names have a recorded stop: soon, and again whenever
        something is committed, at the latest after a few seconds.
        """
        ...
