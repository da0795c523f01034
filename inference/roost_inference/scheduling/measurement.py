"""Measures what steps cost on this machine, once at the start: a few decodes of dummy tokens."""

import time
from collections.abc import Callable, Sequence

import numpy as np

from roost_inference.backend import Backend, DecodeStatus
from roost_inference.batch import Batch
from roost_inference.errors import EngineFailed
from roost_inference.scheduling.cost import Measurement, StepCost

CONTEXT = 256
# Rows and outputs, the most telling first: a slow model measures only these. Prompts have one
# output, answers and their drafts have as many as rows.
SHAPES = ((1, 1), (64, 1), (16, 16), (64, 64), (4, 4), (2, 2), (8, 8))
SHAPES_IN_CONTEXT = ((1, 1), (64, 1), (16, 16))
# A busy moment makes a decode slower, never faster: the least of several, far apart in time.
ROUNDS = 3
# Wall-clock time for all of it, and the part of it for steps without context.
BUDGET_MS = 800.0
BARE_SHARE = 0.6

Clock = Callable[[], float]


def measured_cost(
    backend: Backend, *, rows_max: int, outputs_max: int, clock: Clock = time.monotonic
) -> StepCost:
    """The cost curve of a backend; see `measure`."""
    return StepCost(measure(backend, rows_max=rows_max, outputs_max=outputs_max, clock=clock))


def measure(
    backend: Backend,
    *,
    rows_max: int,
    outputs_max: int,
    budget_ms: float = BUDGET_MS,
    clock: Clock = time.monotonic,
) -> list[Measurement]:
    """The least cost seen of each shape, by `clock`, of as many as there is time for. Uses
    sequence 0 of an idle backend and leaves it empty. Raises EngineFailed."""
    bench = _Bench(backend, rows_max, outputs_max, clock)
    try:
        bench.time_once(1, 1, 0)  # the first touch of the weights says nothing
        started = time.monotonic()
        bare = bench.rounds(SHAPES, 0, started + BARE_SHARE * budget_ms / 1000)
        if backend.cells < 2 * CONTEXT or (time.monotonic() - started) * 1000 > budget_ms:
            return bare
        if not backend.truncates:  # a step behind a context can't be taken back
            return bare
        context = bench.read(CONTEXT)
        until = started + budget_ms / 1000
        return bare + context + bench.rounds(SHAPES_IN_CONTEXT, CONTEXT, until)
    finally:
        backend.sequence_remove(0, 0)


class _Bench:
    """Decodes dummy tokens of sequence 0 and takes the time."""

    def __init__(self, backend: Backend, rows_max: int, outputs_max: int, clock: Clock) -> None:
        self._backend = backend
        self._batch = Batch(rows_max)
        self._outputs_max = outputs_max
        self._clock = clock

    def rounds(
        self, shapes: Sequence[tuple[int, int]], context: int, until: float
    ) -> list[Measurement]:
        """All shapes that fit, again and again until the time is up; the first is always taken."""
        rows_max = min(self._batch.capacity, self._backend.cells - context)
        fitting = [s for s in shapes if s[0] <= rows_max and s[1] <= self._outputs_max]
        least: dict[tuple[int, int], float] = {}
        for rows, outputs in fitting * ROUNDS:
            if least and time.monotonic() > until:
                break
            ms = self.time_once(rows, outputs, context)
            least[rows, outputs] = min(ms, least.get((rows, outputs), ms))
        return [Measurement(rows, context, ms, outputs) for (rows, outputs), ms in least.items()]

    def read(self, context: int) -> list[Measurement]:
        """Make the sequence hold this many tokens; returns the cost if one step did it."""
        size = min(self._batch.capacity, context)
        for held in range(0, context, size):
            ms = self._time(min(size, context - held), 1, held)
        return [Measurement(context, 0, ms)] if size == context else []

    def time_once(self, rows: int, outputs: int, context: int) -> float:
        """Milliseconds of a step that is taken back afterwards."""
        try:
            return self._time(rows, outputs, context)
        finally:
            self._backend.sequence_remove(0, context)

    def _time(self, rows: int, outputs: int, start: int) -> float:
        batch = self._batch
        batch.clear()
        batch.add(np.ones(rows, np.int32), start, 0, output=True, every_output=outputs == rows)
        started = self._clock()
        if self._backend.decode(batch) is not DecodeStatus.DONE:
            raise EngineFailed("The kernels did not compute a step while costs were measured")
        return (self._clock() - started) * 1000
