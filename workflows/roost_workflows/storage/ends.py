"""How turns end that have no answer."""

from collections.abc import Sequence
from dataclasses import dataclass


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
