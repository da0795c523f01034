"""Counts drafts: totals by drafter and position, and the figures of one request."""

from collections import Counter
from dataclasses import dataclass, field

from roost_inference.request import DrafterFigures, SpeculationFigures


@dataclass(slots=True)
class DrafterCounters:
    """Totals of one drafter since the start."""

    drafts: int = 0
    draft_tokens: int = 0
    accepted_tokens: int = 0
    by_position: list[int] = field(default_factory=list)

    def add(self, drafted: int, accepted: int) -> None:
        """Count a draft."""
        self.drafts += 1
        self.draft_tokens += drafted
        self.accepted_tokens += accepted
        while len(self.by_position) < drafted:
            self.by_position.append(0)
        for position in range(accepted):
            self.by_position[position] += 1

    def figures(self) -> DrafterFigures:
        """The totals so far."""
        by_position = tuple(self.by_position)
        return DrafterFigures(self.drafts, self.draft_tokens, self.accepted_tokens, by_position)


@dataclass(slots=True)
class RequestCounters:
    """The drafts of one request."""

    draft_tokens: int = 0
    by_accepted: Counter[int] = field(default_factory=Counter)
    by_length: dict[int, list[int]] = field(default_factory=dict)
    accepted_by_drafter: Counter[str] = field(default_factory=Counter)

    def add(self, drafter: str, drafted: int, accepted: int) -> None:
        """Count a draft."""
        self.draft_tokens += drafted
        self.by_accepted[accepted] += 1
        self.by_length.setdefault(drafted, [0] * (drafted + 1))[accepted] += 1
        self.accepted_by_drafter[drafter] += accepted

    def figures(self, depth_max: int) -> SpeculationFigures:
        """The figures of the request, after at least one draft."""
        most = max(self.by_accepted)
        return SpeculationFigures(
            depth_max=depth_max,
            steps=sum(self.by_accepted.values()),
            draft_tokens=self.draft_tokens,
            accepted_tokens=sum(n * count for n, count in self.by_accepted.items()),
            histogram=tuple(self.by_accepted[accepted] for accepted in range(most + 1)),
            accepted_by_drafter=dict(self.accepted_by_drafter),
            by_draft_length={k: tuple(n) for k, n in sorted(self.by_length.items())},
        )
