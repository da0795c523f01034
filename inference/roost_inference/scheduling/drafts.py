"""Drafts in a step: what the scheduler and the engine ask of speculation, and an engine without."""

import math
from collections.abc import Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Protocol

from roost_inference.kv.paging_protocol import NO_COMPANION, Companion
from roost_inference.request import DrafterFigures, SpeculationFigures
from roost_inference.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Draft:
    """Tokens to verify after the sequence's last one; at least one."""

    drafter: str
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Verified:
    """Tokens of a sequence that the last step computed and that are part of its text: those from
    position `start` on, and the batch rows that they were computed in."""

    sequence: Sequence
    start: int
    rows: list[int] | range


class Speculation(Protocol):
    """Guesses tokens and learns which guesses were right. The engine thread calls it, any thread
    may call `figures`."""

    def plan(
        self,
        sequences: Many[Sequence],
        *,
        tokens_max: int,
        step_ms_max: float = math.inf,
        even: bool = False,
    ) -> Many[Draft | None]:
        """A draft or None for each of these answers, at most `tokens_max` tokens in all; nothing if
        there are no drafts. step_ms_max: what the step may cost, where others wait for it; even:
        every answer takes as many rows as the one with the longest draft."""
        ...

    def verified(self, sequence: Sequence, draft: Draft, accepted: int) -> None:
        """The draft was computed and its first `accepted` tokens are part of the text."""
        ...

    @property
    def companion(self) -> Companion:
        """What a drafter stores beside the blocks of the model's KV."""
        ...

    @property
    def observes(self) -> bool:
        """Whether it wants to hear of the tokens of every step."""
        ...

    def observe(self, verified: Many[Verified]) -> None:
        """The last step computed these tokens. Call it before the next one."""
        ...

    def end(self, sequence: Sequence, *, finished: bool) -> SpeculationFigures | None:
        """Forget a sequence; returns its figures, None if nothing was drafted for it. finished:
        it ended by itself, so its answer is a whole one."""
        ...

    def figures(self) -> Mapping[str, DrafterFigures]:
        """Totals by drafter since the start."""
        ...

    def check(self, sequences: Many[Sequence]) -> None:
        """Raise AssertionError if anything is kept for others than these. For tests."""
        ...

    def close(self) -> None:
        """Give back what the drafters hold."""
        ...


class NoSpeculation:
    """Speculation that is off: it drafts nothing and keeps nothing."""

    def plan(
        self,
        sequences: Many[Sequence],
        *,
        tokens_max: int,
        step_ms_max: float = math.inf,
        even: bool = False,
    ) -> Many[Draft | None]:
        """No drafts."""
        return ()

    def verified(self, sequence: Sequence, draft: Draft, accepted: int) -> None:
        """Never called: nothing is drafted."""

    observes = False
    companion: Companion = NO_COMPANION

    def observe(self, verified: Many[Verified]) -> None:
        """Never called: nobody wants to hear."""

    def end(self, sequence: Sequence, *, finished: bool) -> SpeculationFigures | None:
        """No figures."""
        return None

    def figures(self) -> Mapping[str, DrafterFigures]:
        """No drafters."""
        return {}

    def check(self, sequences: Many[Sequence]) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is held."""


NO_SPECULATION: Speculation = NoSpeculation()
