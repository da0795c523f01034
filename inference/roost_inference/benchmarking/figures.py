"""Measured values, what they are compared with, and the goals they should reach."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Goal:
    """The bounds of a ratio, or of the value itself where there is nothing to compare with."""

    at_least: float
    aim: float


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a run. `other` is the same quantity of what it is compared with, `against`.

    lower_is_better decides which way the ratio goes: above 1 always means better than the other.
    """

    scenario: str
    name: str
    value: float
    unit: str
    lower_is_better: bool = True
    against: str = ""
    other: float | None = None
    goal: Goal | None = None

    @property
    def ratio(self) -> float | None:
        """How many times better than the other; None where there is nothing to compare with."""
        if self.other is None or min(self.value, self.other) <= 0:
            return None
        return self.other / self.value if self.lower_is_better else self.value / self.other

    @property
    def is_reached(self) -> bool | None:
        """Whether the value reaches `at_least`; None without a goal."""
        if self.goal is None:
            return None
        if self.ratio is not None:
            return self.ratio >= self.goal.at_least
        if self.lower_is_better:
            return self.value <= self.goal.at_least
        return self.value >= self.goal.at_least


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: always one of the values. Raises ValueError on none."""
    if not values:
        raise ValueError("a percentile of nothing")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def median(values: Sequence[float]) -> float:
    """The middle one, or the mean of the two in the middle. Raises ValueError on none."""
    if not values:
        raise ValueError("a median of nothing")
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


@dataclass(frozen=True, slots=True)
class Answered:
    """A prompt and its answer, as token ids."""

    prompt: Sequence[int]
    answer: Sequence[int]


def infinite_cache_tokens(requests: Sequence[Answered]) -> int:
    """Prompt tokens that a cache without bounds would have had, all requests together.

    requests: in the order they were sent. A prompt reuses its longest prefix that an earlier prompt
    and its answer have. Its last token is always computed, and the last token of an answer never
    enters the cache.
    """
    shared = 0
    earlier: list[list[int]] = []
    for request in requests:
        wanted = request.prompt[:-1]
        shared += max((_common(known, wanted) for known in earlier), default=0)
        earlier.append([*request.prompt, *request.answer[:-1]])
    return shared


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return index
    return min(len(one), len(other))
