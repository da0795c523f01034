"""What a decode of so many rows costs: measured at the start, kept true by every step since.

Two parts: the matrix products, which get cheaper a row the more rows there are, and attention,
which costs each row in proportion to its context. llama.cpp has three attention kernels, for one
row, for a few, and for tiles of 64, of which the last is by far the cheapest a row.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

# Rows that are kept true one by one; others follow the nearest.
KNOTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
ROWS_MAX = KNOTS[-1]
TILE_ROWS = 64
_FEW = TILE_ROWS - 1
# What a row's attention costs in a tile, against one of a few rows, until measured.
TILE_SHARE = 0.4
# How far one step moves the cost of all rows, and that of its own number besides: other programs
# that take the processor make every number of rows slower alike. The first steps with a number
# of rows weigh more: the start may have been a busy moment.
COMMON_WEIGHT = 0.08
OWN_WEIGHT = 0.04
# One step counts as at most this many times slower or faster than expected.
OUTLIER = 2.0


@dataclass(frozen=True, slots=True)
class Measurement:
    """A decode of `rows`, each after `context` tokens."""

    rows: int
    context: int
    ms: float


class CostCurve:
    """Milliseconds by rows and their mean context. A row is a row: verifying three tokens of one
    sequence costs what decoding one token of three sequences costs."""

    def __init__(self) -> None:
        self._nearest = [
            min(range(len(KNOTS)), key=lambda at: abs(KNOTS[at] - rows))
            for rows in range(ROWS_MAX + 1)
        ]
        self._scale = 1.0
        self._own = [1.0] * len(KNOTS)
        self._seen = [1] * len(KNOTS)
        # A guess until measured.
        self._base = [4.0 + 1.5 * rows for rows in range(ROWS_MAX + 1)]
        self._attention = {1: 0.0, _FEW: 0.0, TILE_ROWS: 0.0}

    def load(self, measured: Sequence[Measurement]) -> None:
        """Take measurements; what was not measured follows from its neighbours."""
        points = sorted({m.rows: m.ms for m in measured if m.context == 0}.items())
        if not points:
            return
        rows, costs = [p[0] for p in points], [p[1] for p in points]
        for at in range(1, len(costs)):  # a stall is no reason to think more rows cheaper
            costs[at] = max(costs[at], costs[at - 1])
        if len(points) == 1:
            rows, costs = [rows[0], 2 * rows[0]], [costs[0], 1.5 * costs[0]]
        self._base = [_interpolate(rows, costs, wanted) for wanted in range(ROWS_MAX + 1)]
        for found in measured:
            if found.context:
                extra = max(found.ms - self._base[found.rows], 0.0)
                self._attention[_kernel(found.rows)] = extra / (found.rows * found.context)
        # What was not measured follows from what is known of the kernels.
        few = self._attention[_FEW] or self._attention[1]
        tile = self._attention[TILE_ROWS] or TILE_SHARE * few
        self._attention |= {_FEW: few, TILE_ROWS: min(tile, few)}

    def ms(self, rows: int, context: float = 0.0) -> float:
        beyond = max(rows / ROWS_MAX, 1.0)
        known = min(rows, ROWS_MAX)
        base = self._base[known] * self._own[self._nearest[known]]
        attention = self._attention[_kernel(known)] * known * context
        return self._scale * beyond * (base + attention)

    def observe(self, rows: int, ms: float, context: float = 0.0) -> None:
        """Learn from a step without prompt tokens."""
        change = min(max(ms / self.ms(rows, context), 1 / OUTLIER), OUTLIER) - 1.0
        self._scale *= 1.0 + COMMON_WEIGHT * change
        nearest = self._nearest[min(rows, ROWS_MAX)]
        self._seen[nearest] += 1
        self._own[nearest] *= 1.0 + max(OWN_WEIGHT, 1.0 / self._seen[nearest]) * change


def _kernel(rows: int) -> int:
    """The attention kernel for a batch: of one row, of a few, of a whole tile."""
    if rows == 1 or rows == TILE_ROWS:
        return rows
    return _FEW


def _interpolate(rows: Sequence[int], costs: Sequence[float], wanted: int) -> float:
    at = min(max(bisect_left(rows, wanted), 1), len(rows) - 1)
    left, right = rows[at - 1], rows[at]
    share = (wanted - left) / (right - left)
    return max(costs[at - 1] + share * (costs[at] - costs[at - 1]), 0.1 * costs[0])
