"""The cost curve measured at the start: a few decodes of dummy tokens, well under a second."""

import time
from collections.abc import Callable

import numpy as np

from roost_inference.backend import Backend, DecodeStatus
from roost_inference.batch import Batch
from roost_inference.errors import EngineFailed
from roost_inference.speculation.cost import Measurement

# (sequences, rows of each, context, repeats), the most telling first: a slow model measures only
# these. The context is read once, before the first shape that wants it.
SHAPES = (
    (1, 1, 0, 2),
    (1, 4, 0, 2),
    (1, 16, 0, 1),
    (1, 2, 0, 2),
    (1, 8, 0, 1),
    (1, 64, 0, 1),
    (1, 32, 0, 1),
    (1, 1, 256, 2),
    (1, 16, 256, 1),
    (1, 64, 256, 1),
    (4, 4, 0, 1),
    (16, 1, 0, 1),
)
MEASURE_MS_MAX = 600.0


def measure(
    backend: Backend,
    *,
    rows_max: int,
    budget_ms: float = MEASURE_MS_MAX,
    clock: Callable[[], float] = time.monotonic,
) -> list[Measurement]:
    """Costs of decodes, the best of the repeats; other shapes with the same rows are averaged.
    Uses sequences of an idle backend and leaves them empty."""
    batch = Batch(rows_max)
    found: dict[tuple[int, int], list[float]] = {}
    try:
        _time_once(backend, batch, 1, 1, 0, clock)  # the first touch of the weights says nothing
        started = clock()
        for sequences, rows, context, repeats in SHAPES:
            total, last = sequences * rows, context + rows
            if sequences > backend.sequences or total > rows_max or last > backend.cells:
                continue
            _read(backend, batch, context)
            times: list[float] = []
            for _ in range(repeats):
                if found and (clock() - started) * 1000 > budget_ms:
                    break
                times.append(_time_once(backend, batch, sequences, rows, context, clock))
            if times:
                found.setdefault((total, context), []).append(min(times))
    finally:
        backend.sequence_remove(0, 0)
    return [
        Measurement(rows, context, sum(times) / len(times))
        for (rows, context), times in found.items()
    ]


def _read(backend: Backend, batch: Batch, context: int) -> None:
    """Make sequence 0 hold exactly `context` tokens."""
    held = backend.sequence_end(0)
    if held > context:
        backend.sequence_remove(0, context)
    while held < context:
        count = min(batch.capacity, context - held)
        batch.clear()
        batch.add(np.ones(count, np.int32), held, 0, output=False)
        _decode(backend, batch)
        held += count


def _time_once(
    backend: Backend,
    batch: Batch,
    sequences: int,
    rows: int,
    context: int,
    clock: Callable[[], float],
) -> float:
    batch.clear()
    for sequence in range(sequences):
        start = context if sequence == 0 else 0
        batch.add(np.ones(rows, np.int32), start, sequence, every_output=True)
    started = clock()
    try:
        _decode(backend, batch)
        return (clock() - started) * 1000
    finally:
        for sequence in range(sequences):
            backend.sequence_remove(sequence, context if sequence == 0 else 0)


def _decode(backend: Backend, batch: Batch) -> None:
    if backend.decode(batch) is not DecodeStatus.DONE:
        raise EngineFailed("The kernels did not compute a step while costs were measured")
