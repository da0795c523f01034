"""What a step costs by its rows: one curve, measured at the start and learned from every step.

It serves the pacing of prompts and the depth of drafts. A step has three parts:

    products     of a row with the weights; the more rows share them, the less a row costs
    attention    of a row to the tokens before it, at one of three prices: llama.cpp has a kernel
                 for one row, one for a few, and one for tiles of 64 rows. A row in a tile costs a
                 third, but a tile that is not full costs what a full one does
    logits       of the rows that yield an output; those of the first are part of the products
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from roost_inference.batch import TILE_ROWS

# Rows whose cost is kept. Straight lines join them, and the last line goes on beyond them.
KNOTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512)
# How far the level follows a step. It follows the median of the last three steps: one stall among
# them moves nothing, a neighbour that takes the processor is believed the second time.
LEVEL_WEIGHT = 0.3
# The first steps with a number of rows weigh more: the start may have been a busy moment.
SHAPE_WEIGHT = 0.1
# One step counts as at most this many times slower or faster than expected.
OUTLIER = 4.0
SHAPE_OUTLIER = 1.5
# Attention to one token, of the products of a row: as was seen with a small model on a CPU.
ATTENTION_SHARE = 0.0025
TILE_SHARE = 0.0009
# How many times slower a step is beside a piece in the background, until it is measured: it shares
# the cores with the piece until that pauses.
BESIDE = 2.0
# A further row costs at least this part of the first, and this long: a stall in the first
# measurement or a coarse clock makes all steps look alike.
ROW_SHARE_MIN, ROW_MS_MIN = 0.001, 1e-6
# Logits of a row are at most this part of what such a row was measured to cost.
OUTPUT_SHARE_MAX = 0.5

_ONE, _FEW, _TILE = range(3)
# By number of rows: the knot at or above it, and how far it lies from the knot below to this one.
_KNOT_ABOVE = [max(bisect_left(KNOTS, rows), 1) for rows in range(KNOTS[-1] + 1)]
_SHARE = [
    (rows - KNOTS[at - 1]) / (KNOTS[at] - KNOTS[at - 1]) for rows, at in enumerate(_KNOT_ABOVE)
]


@dataclass(frozen=True, slots=True)
class Measurement:
    """A decode of `rows` after `context` tokens, of which `outputs` rows yield logits."""

    rows: int
    context: int
    ms: float
    outputs: int = 1


class Level:
    """How many times slower than the curve the machine is now, by one clock."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor
        self._last, self._before = 1.0, 1.0

    def follow(self, ms: float, expected_ms: float) -> float:
        """Learn from a step that `expected_ms` of the curve describe; returns by how much it was
        slower than the newest steps as a rule."""
        ratio = min(max(ms / (self.factor * expected_ms), 1 / OUTLIER), OUTLIER)
        low, high = sorted((self._last, self._before))
        common = min(max(ratio, low), high)
        self._last, self._before = ratio, self._last
        self.factor *= 1.0 + LEVEL_WEIGHT * (common - 1.0)
        return ratio / common


class StepCost:
    """Milliseconds of a step by rows, work and outputs.

    work: the sum over the rows of the tokens before each; outputs: rows that yield logits. Used
    by the engine thread.
    """

    def __init__(self, measured: Sequence[Measurement] = ()) -> None:
        # A guess until measured.
        self._products = [4.0 + 1.0 * rows for rows in KNOTS]
        self._attention = _usual_attention(self._products)
        self._output_ms = 0.0
        self._seen = [1] * len(KNOTS)
        self._elapsed, self._busy, self._beside = Level(), Level(), Level(BESIDE)
        self.load(measured)

    def load(self, measured: Sequence[Measurement]) -> None:
        """Take measurements; what was not measured follows from its neighbours."""
        self._output_ms = _output_ms(measured)
        points = {m.rows: self._without_outputs(m) for m in measured if m.context == 0}
        if not points:
            return
        rows = sorted(points)
        costs = [max(points[count], ROW_MS_MIN) for count in rows]
        for at in range(1, len(costs)):  # a stall does not mean that more rows are cheaper
            costs[at] = max(costs[at], costs[at - 1])
        if len(rows) == 1:
            rows, costs = [rows[0], 2 * rows[0]], [costs[0], 1.5 * costs[0]]
        self._products = [_line(rows, costs, knot) for knot in KNOTS]
        self._load_attention([m for m in measured if m.context])

    def ms(self, rows: int, work: float = 0.0, outputs: int = 1) -> float:
        """What the step will take."""
        return self._elapsed.factor * sum(self._parts(rows, work, outputs)) if rows else 0.0

    def busy_ms(self, rows: int, work: float = 0.0, outputs: int = 1) -> float:
        """What the step will compute, without the time that other programs take meanwhile."""
        products, attention, logits = self._parts(rows, work, outputs)
        return self._busy.factor * (products + attention + logits)

    @property
    def beside(self) -> float:
        """How many times longer than `ms` a step takes beside a piece in the background."""
        return max(self._beside.factor, 1.0)

    def observe_beside(self, rows: int, work: float, elapsed_ms: float, outputs: int) -> None:
        """Learn from a step beside a piece. It says nothing about other steps."""
        if elapsed_ms > 0:
            self._beside.follow(elapsed_ms, self.ms(rows, work, outputs))

    def observe(
        self,
        rows: int,
        work: float,
        elapsed_ms: float,
        *,
        busy_ms: float | None = None,
        outputs: int = 1,
    ) -> None:
        """Learn from a finished step: first how fast the machine is now, then, slowly, the shape
        of the curve. busy_ms: the time it computed, by default all the time that passed."""
        if elapsed_ms <= 0:
            return  # shorter than the clock can tell
        products, attention, logits = self._parts(rows, work, outputs)
        total = products + attention + logits
        self._elapsed.follow(elapsed_ms, total)
        slower = self._busy.follow(busy_ms or elapsed_ms, total)
        change = (min(max(slower, 1 / SHAPE_OUTLIER), SHAPE_OUTLIER) - 1.0) / total
        at = min(bisect_left(KNOTS, rows), len(KNOTS) - 1)
        for knot in (at,) if rows >= KNOTS[at] else (at - 1, at):
            self._seen[knot] += 1
            weight = max(SHAPE_WEIGHT, 1.0 / self._seen[knot])
            self._products[knot] *= 1.0 + weight * products * change
        self._attention[_kernel(rows)] *= 1.0 + SHAPE_WEIGHT * attention * change
        self._output_ms *= 1.0 + SHAPE_WEIGHT * logits * change

    def _parts(self, rows: int, work: float, outputs: int) -> tuple[float, float, float]:
        """Products, attention and further logits of a step, by the curve."""
        costs = self._products
        if rows < len(_SHARE):
            at = _KNOT_ABOVE[rows]
            products = costs[at - 1] + _SHARE[rows] * (costs[at] - costs[at - 1])
        else:
            products = _line(KNOTS, costs, rows)
        if rows < TILE_ROWS:
            attention = self._attention[_FEW if rows > 1 else _ONE] * work
        else:
            attention = self._attention[_TILE] * work * _padded(rows) / rows
        return products, attention, self._output_ms * (outputs - 1) if outputs > 1 else 0.0

    def _without_outputs(self, m: Measurement) -> float:
        """What the step would have cost with the logits of one row."""
        return m.ms - (m.outputs - 1) * self._output_ms

    def _load_attention(self, measured: Sequence[Measurement]) -> None:
        """Prices of the three kernels. A measured one differs from the usual by OUTLIER at most:
        it is the difference of two measurements, and a stall in either makes nonsense of it. One
        that was not measured differs from the usual as the one before it does."""
        usual = _usual_attention(self._products)
        ratios: dict[int, float] = {}
        for m in measured:
            extra = self._without_outputs(m) - _line(KNOTS, self._products, m.rows)
            kernel = _kernel(m.rows)
            ratio = extra / (_padded(m.rows) * m.context) / usual[kernel]
            ratios[kernel] = min(max(ratio, 1 / OUTLIER), OUTLIER)
        ratio = next(iter(ratios.values()), 1.0)
        for kernel in (_ONE, _FEW, _TILE):
            ratio = ratios.get(kernel, ratio)
            self._attention[kernel] = ratio * usual[kernel]
        self._attention[_TILE] = min(self._attention[_TILE], self._attention[_FEW])


def _output_ms(measured: Sequence[Measurement]) -> float:
    """What the logits of a row cost, from steps that differ only in outputs; 0 without such."""
    costs = [
        (many.ms - one.ms) / (many.outputs - one.outputs)
        for one in measured
        for many in measured
        if (one.rows, one.context) == (many.rows, many.context) and one.outputs < many.outputs
    ]
    if not costs:
        return 0.0
    most = min(OUTPUT_SHARE_MAX * m.ms / m.outputs for m in measured if m.outputs > 1)
    return min(max(min(costs), 0.0), most)


def _usual_attention(products: Sequence[float]) -> list[float]:
    """What attention costs as a rule, by what the products of a row cost."""
    row_ms = (_line(KNOTS, products, TILE_ROWS) - products[0]) / (TILE_ROWS - 1)
    row_ms = max(row_ms, ROW_SHARE_MIN * products[0], ROW_MS_MIN)
    return [ATTENTION_SHARE * row_ms, ATTENTION_SHARE * row_ms, TILE_SHARE * row_ms]


def _kernel(rows: int) -> int:
    """The attention kernel of a batch: for one row, for a few, for tiles."""
    return _ONE if rows == 1 else _FEW if rows < TILE_ROWS else _TILE


def _padded(rows: int) -> int:
    """Rows that attention computes, with those that fill the last tile."""
    return rows if rows < TILE_ROWS else -(-rows // TILE_ROWS) * TILE_ROWS


def _line(rows: Sequence[int], costs: Sequence[float], wanted: int) -> float:
    """The cost by straight lines between the points, and on beyond them."""
    at = min(max(bisect_left(rows, wanted), 1), len(rows) - 1)
    left, right = rows[at - 1], rows[at]
    share = (wanted - left) / (right - left)
    return max(costs[at - 1] + share * (costs[at] - costs[at - 1]), 0.1 * costs[0])
