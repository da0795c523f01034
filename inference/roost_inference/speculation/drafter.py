"""The protocol of a drafter, which guesses tokens, and the proposals it makes."""

from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from roost_inference.scheduling.drafts import Verified
from roost_inference.sequence import Sequence

# Acceptance is learned by slot. A proposal's first token has the slot the drafter gives it, each
# further token the next one: an accepted token makes the following one as likely as if the
# proposal had begun with better evidence.
SLOTS = 32


@dataclass(frozen=True, slots=True)
class Proposal:
    """Tokens that may follow a sequence. `slot` says how good the evidence is: the length of the
    match for a suffix drafter, 0 where only the position counts."""

    tokens: Many[int]
    slot: int = 0


class Drafter(Protocol):
    """Guesses tokens; a wrong guess costs time and never changes the text.

    Only the engine thread calls it. A drafter that raises or returns a list of another length is
    closed and not used any more.
    """

    @property
    def name(self) -> str:
        """What its figures are listed under; no two drafters of an engine share it."""
        ...

    def prior(self, slot: int) -> float:
        """Acceptance of a token in this slot before anything was learned, 0 to 1."""
        ...

    def cost_ms(self, sequences: int, depth: int) -> float:
        """Expected time of `propose`. 0 means that it is called in every step; otherwise it is
        called only where the controller expects more from it than it costs."""
        ...

    def propose(self, sequences: Many[Sequence], depth: int) -> list[Proposal | None]:
        """Up to `depth` tokens for each sequence, None where it has no guess."""
        ...

    def forget(self, sequence: Sequence, *, finished: bool) -> None:
        """The sequence has ended. finished: it ended by itself, so its answer is a whole one."""
        ...

    def close(self) -> None:
        """Give back what it holds; safe to call twice."""
        ...


@runtime_checkable
class ObservingDrafter(Drafter, Protocol):
    """A drafter that follows what the target computes, such as one that reads its hidden states.

    That costs time in every step. So one that is not used for long rests, and hears nothing until
    it is woken: it must do with tokens that it has missed.
    """

    def observe(self, verified: Many[Verified]) -> None:
        """The last decode computed these tokens, and they stay. Called after every step, for
        prompts and answers; not for tokens whose KV was found in a cache or was loaded."""
        ...

    def rest(self) -> None:
        """Forget everything; nothing is observed from now on."""
        ...

    def wake(self) -> None:
        """What is computed from now on is observed."""
        ...
