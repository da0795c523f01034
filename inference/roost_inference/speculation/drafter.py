"""What guesses tokens: the drafter protocol and the proposals it makes."""

from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Protocol

from roost_inference.sequence import Sequence

# Acceptance is learned by slot. A proposal's first token has the slot the drafter gives it, each
# further token the next one: an accepted token makes the following one as likely as if the
# proposal had begun with better grounds.
SLOTS = 32


@dataclass(frozen=True, slots=True)
class Proposal:
    """Tokens that may follow a sequence. `slot` says how good the grounds are: the length of the
    match for a suffix drafter, 0 where only the position counts."""

    tokens: Many[int]
    slot: int = 0


class Drafter(Protocol):
    """Guesses; a wrong guess costs time and never changes the text.

    Called on the engine thread only. `name` labels its figures.
    """

    @property
    def name(self) -> str: ...

    def prior(self, slot: int) -> float:
        """Acceptance of a token in this slot before anything was learned, 0 to 1."""
        ...

    def cost_ms(self, sequences: int, depth: int) -> float:
        """Expected time of `propose`. 0 means it is asked in every step; otherwise only where
        the controller expects more from it than it costs."""
        ...

    def propose(self, sequences: Many[Sequence], depth: int) -> list[Proposal | None]:
        """Up to `depth` tokens for each sequence, None where nothing suggests itself."""
        ...

    def forget(self, sequence: Sequence, *, finished: bool) -> None:
        """The sequence has ended; `finished` if by itself, so that its answer is a whole one."""
        ...

    def close(self) -> None: ...
