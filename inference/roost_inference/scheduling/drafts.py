"""Drafts in a step: what the scheduler and the engine ask of speculation, and an engine without."""

import math
from collections.abc import Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Protocol

from roost_inference.request import DrafterFigures, SpeculationFigures
from roost_inference.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Draft:
    """Tokens to verify after the sequence's last one; at least one."""

    drafter: str
    tokens: tuple[int, ...]


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
