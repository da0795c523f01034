"""What a decode of so many rows costs: measured at the start, kept true by every step since."""

from bisect import bisect_left
from collections.abc import Sequence

# Rows for which a cost is kept; between them it is interpolated, beyond them extrapolated.
KNOTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
# How far one step moves the cost of its own number of rows, and that of all others: contexts grow
# and other programs take the processor, which makes every number of rows slower alike.
OWN_WEIGHT = 0.1
COMMON_WEIGHT = 0.03
# One step counts as at most this many times slower or faster than expected.
OUTLIER = 2.0


class CostCurve:
    """Milliseconds by rows. A row is a row: verifying three tokens of one sequence costs what
    decoding one token of three sequences costs, up to the length of their contexts."""

    def __init__(self) -> None:
        # A guess until measured: a quarter of the cost is the step's, the rest goes by rows.
        self._ms = [4.0 + 1.5 * rows for rows in KNOTS]

    def load(self, measured: Sequence[tuple[int, float]]) -> None:
        """Take measurements (rows, ms); what was not measured follows from its neighbours."""
        points = sorted(dict(measured).items())
        if not points:
            return
        rows, costs = [p[0] for p in points], [p[1] for p in points]
        for at in range(1, len(costs)):  # more rows are never cheaper
            costs[at] = max(costs[at], costs[at - 1])
        if len(points) == 1:
            self._ms = [costs[0] * (0.5 + 0.5 * knot / rows[0]) for knot in KNOTS]
        else:
            self._ms = [_interpolate(rows, costs, knot) for knot in KNOTS]

    def ms(self, rows: int) -> float:
        return _interpolate(KNOTS, self._ms, rows)

    def observe(self, rows: int, ms: float) -> None:
        """Learn from a step without prompt tokens in it."""
        expected = self.ms(rows)
        change = min(max(ms / expected, 1 / OUTLIER), OUTLIER) - 1.0
        for at in range(len(KNOTS)):
            self._ms[at] *= 1.0 + COMMON_WEIGHT * change
        nearest = min(range(len(KNOTS)), key=lambda at: abs(KNOTS[at] - rows))
        self._ms[nearest] *= 1.0 + OWN_WEIGHT * change


def _interpolate(rows: Sequence[int], costs: Sequence[float], wanted: int) -> float:
    at = min(max(bisect_left(rows, wanted), 1), len(rows) - 1)
    left, right = rows[at - 1], rows[at]
    share = (wanted - left) / (right - left)
    return max(costs[at - 1] + share * (costs[at] - costs[at - 1]), 0.1 * costs[0])
