"""The cost curve measured at the start: a few decodes of dummy tokens, well under a second."""

import time
from collections.abc import Callable, Sequence

import numpy as np

from roost_inference.backend import Backend, DecodeStatus
from roost_inference.batch import Batch
from roost_inference.errors import EngineFailed
from roost_inference.speculation.cost import Measurement

# Numbers of rows, the most telling first: a slow model measures only these. What comes between
# lies nearly on a line.
ROWS = (1, 16, 64, 4, 2, 8)
ROWS_IN_CONTEXT = (1, 16, 64)
CONTEXT = 256
# A busy moment makes a decode slower, never faster: the least of several, far apart in time.
ROUNDS = 3
# Two thirds of it for the rows, the rest for what context adds.
MEASURE_MS_MAX = 600.0
Clock = Callable[[], float]


def measure(
    backend: Backend,
    *,
    rows_max: int,
    budget_ms: float = MEASURE_MS_MAX,
    clock: Clock = time.monotonic,
) -> list[Measurement]:
    """The least cost seen of each shape, by `clock`; the budget is one of wall-clock time. Uses
    sequence 0 of an idle backend and leaves it empty."""
    batch = Batch(rows_max)
    try:
        _time_once(backend, batch, 1, 0, clock)  # the first touch of the weights says nothing
        started = time.monotonic()
        bare = _rounds(backend, batch, ROWS, 0, clock, started + budget_ms / 1500)
        if backend.cells < 2 * CONTEXT:
            return bare
        _read(backend, batch, CONTEXT)
        until = started + budget_ms / 1000
        return bare + _rounds(backend, batch, ROWS_IN_CONTEXT, CONTEXT, clock, until)
    finally:
        backend.sequence_remove(0, 0)


def _rounds(
    backend: Backend,
    batch: Batch,
    shapes: Sequence[int],
    context: int,
    clock: Clock,
    until: float,
) -> list[Measurement]:
    """One after the other, again and again until the time is up; the first is always taken."""
    least: dict[int, float] = {}
    fitting = [rows for rows in shapes if rows <= min(batch.capacity, backend.cells - context)]
    for rows in fitting * ROUNDS:
        if least and time.monotonic() > until:
            break
        ms = _time_once(backend, batch, rows, context, clock)
        least[rows] = min(ms, least.get(rows, ms))
    return [Measurement(rows, context, ms) for rows, ms in least.items()]


def _read(backend: Backend, batch: Batch, context: int) -> None:
    """Make sequence 0 hold so many tokens."""
    for held in range(0, context, batch.capacity):
        batch.clear()
        count = min(batch.capacity, context - held)
        batch.add(np.ones(count, np.int32), held, 0, output=False)
        _decode(backend, batch)


def _time_once(backend: Backend, batch: Batch, rows: int, context: int, clock: Clock) -> float:
    batch.clear()
    batch.add(np.ones(rows, np.int32), context, 0, every_output=True)
    started = clock()
    try:
        _decode(backend, batch)
        return (clock() - started) * 1000
    finally:
        backend.sequence_remove(0, context)


def _decode(backend: Backend, batch: Batch) -> None:
    if backend.decode(batch) is not DecodeStatus.DONE:
        raise EngineFailed("The kernels did not compute a step while costs were measured")
