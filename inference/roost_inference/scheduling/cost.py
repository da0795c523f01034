"""What a step costs by its rows and their context: measured at the start, learned from every step.

A row is one token. Its matrix products cost less the more rows share them; its attention costs in
proportion to the tokens before it, at one of three prices a row and token, as llama.cpp has three
attention kernels: for one row, for a few, and for tiles of 64 rows. The last is about three times
as cheap as the second, and a tile that is not full costs what a full one does.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from statistics import median

from roost_inference.speculation.cost import Measurement

TILE_ROWS = 64
# Rows whose cost is kept; the numbers between follow by straight lines, those beyond in proportion.
KNOTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
# The speed of the whole machine follows the median of so many steps: one stall among them moves
# nothing, a neighbour that takes the processor is believed the second time.
RECENT_STEPS = 3
SPEED_WEIGHT = 0.3
SHAPE_WEIGHT = 0.1
# One step counts as at most this many times slower or faster than expected.
OUTLIER = 4.0
SHAPE_OUTLIER = 1.5
# Attention to one token, of the products of a row: as was seen with a small model on a CPU.
ATTENTION_SHARE = 0.0025
TILE_SHARE = 0.0009


class StepCost:
    """Milliseconds by rows and work; work is the sum over the rows of the tokens before each."""

    def __init__(self) -> None:
        # A guess until measured.
        self._base = [4.0 + 1.0 * rows for rows in KNOTS]
        self._attention = self._usual_attention()
        self._speed = 1.0
        self._ratios: deque[float] = deque(maxlen=RECENT_STEPS)

    def load(self, measured: Sequence[Measurement]) -> None:
        """Take measurements; what was not measured follows from its neighbours."""
        points = sorted({m.rows: m.ms for m in measured if m.context == 0}.items())
        if not points:
            return
        rows, costs = [at for at, _ in points], [ms for _, ms in points]
        for at in range(1, len(costs)):  # a stall is no reason to think more rows cheaper
            costs[at] = max(costs[at], costs[at - 1])
        if len(rows) == 1:
            rows, costs = [rows[0], 2 * rows[0]], [costs[0], 1.5 * costs[0]]
        self._base = [_line(rows, costs, knot) for knot in KNOTS]
        usual = self._attention = self._usual_attention()
        for m in measured:
            if m.context:
                kernel, base = _kernel(m.rows), _line(KNOTS, self._base, m.rows)
                found = (m.ms - base) / (_padded(m.rows) * m.context)
                # the difference of two measurements: a stall in either makes nonsense of it
                low, high = usual[kernel] / OUTLIER, usual[kernel] * OUTLIER
                self._attention[kernel] = min(max(found, low), high)

    def ms(self, rows: int, work: float) -> float:
        """A step of so many rows."""
        if rows <= 0:
            return 0.0
        return self._speed * (self._products(rows) + self._attending(rows, work))

    def observe(self, rows: int, work: float, ms: float) -> None:
        """Learn from a finished step: first how fast the machine is now, then, slowly, the shape
        of the costs."""
        if ms <= 0:
            return  # shorter than the clock can tell
        expected = self.ms(rows, work)
        ratio = min(max(ms / expected, 1 / OUTLIER), OUTLIER)
        self._ratios.append(ratio)
        common = median(self._ratios)
        self._speed *= 1.0 + SPEED_WEIGHT * (common - 1.0)
        own = min(max(ratio / common, 1 / SHAPE_OUTLIER), SHAPE_OUTLIER) - 1.0
        products, attending = self._products(rows), self._attending(rows, work)
        share = attending / (products + attending)
        self._attention[_kernel(rows)] *= 1.0 + SHAPE_WEIGHT * share * own
        at = min(bisect_left(KNOTS, rows), len(KNOTS) - 1)
        for knot in {at, max(at - 1, 0)} if rows < KNOTS[at] else {at}:
            self._base[knot] *= 1.0 + SHAPE_WEIGHT * (1.0 - share) * own

    def _usual_attention(self) -> list[float]:
        """What attention costs as a rule, by what the products of a row cost."""
        row_ms = (_line(KNOTS, self._base, TILE_ROWS) - self._base[0]) / (TILE_ROWS - 1)
        return [ATTENTION_SHARE * row_ms, ATTENTION_SHARE * row_ms, TILE_SHARE * row_ms]

    def _products(self, rows: int) -> float:
        return _line(KNOTS, self._base, rows)

    def _attending(self, rows: int, work: float) -> float:
        return self._attention[_kernel(rows)] * work * _padded(rows) / rows


def _kernel(rows: int) -> int:
    """The attention kernel of a batch: for one row, for a few, for tiles."""
    return 0 if rows == 1 else 1 if rows < TILE_ROWS else 2


def _padded(rows: int) -> int:
    """Rows that attention computes, with those that fill the last tile."""
    return rows if rows < TILE_ROWS else -(-rows // TILE_ROWS) * TILE_ROWS


def _line(rows: Sequence[int], costs: Sequence[float], wanted: int) -> float:
    """The cost by straight lines between the points, and on beyond them."""
    at = min(max(bisect_left(rows, wanted), 1), len(rows) - 1)
    left, right = rows[at - 1], rows[at]
    share = (wanted - left) / (right - left)
    return max(costs[at - 1] + share * (costs[at] - costs[at - 1]), 0.1 * costs[0])
