"""The cost curve measured at the start: a few decodes of dummy tokens, well under a second."""

import time
from collections.abc import Callable

import numpy as np

from roost_inference.backend import Backend, DecodeStatus
from roost_inference.batch import Batch
from roost_inference.errors import EngineFailed

# (sequences, rows of each), the most telling first: a slow model measures only these.
SHAPES = ((1, 1), (1, 4), (1, 16), (1, 2), (1, 8), (16, 1), (1, 32), (4, 1), (1, 3), (4, 4), (1, 6))
REPEATS = 2
MEASURE_MS_MAX = 600.0
# Context before the measured rows, so that attention is part of the cost.
CONTEXT_TOKENS = 32


def measure(
    backend: Backend,
    *,
    rows_max: int,
    budget_ms: float = MEASURE_MS_MAX,
    clock: Callable[[], float] = time.monotonic,
) -> list[tuple[int, float]]:
    """(rows, milliseconds) of decodes; equal numbers of rows in other shapes are averaged. Uses
    sequences of an idle backend and leaves them empty."""
    batch = Batch(max(rows_max, CONTEXT_TOKENS))
    _time_once(backend, batch, 1, 1, clock)  # the first touch of the weights says nothing
    started = clock()
    costs: dict[int, list[float]] = {}
    for sequences, rows in SHAPES:
        if sequences > backend.sequences or sequences * rows > rows_max:
            continue
        best: float | None = None
        for _ in range(REPEATS):
            if costs and (clock() - started) * 1000 > budget_ms:
                break
            ms = _time_once(backend, batch, sequences, rows, clock)
            best = ms if best is None else min(best, ms)
        if best is not None:
            costs.setdefault(sequences * rows, []).append(best)
    return [(rows, sum(found) / len(found)) for rows, found in sorted(costs.items())]


def _time_once(
    backend: Backend, batch: Batch, sequences: int, rows: int, clock: Callable[[], float]
) -> float:
    per_sequence = CONTEXT_TOKENS // sequences
    try:
        batch.clear()
        for sequence in range(sequences):
            batch.add(np.ones(per_sequence, np.int32), 0, sequence, output=False)
        _decode(backend, batch)
        batch.clear()
        for sequence in range(sequences):
            batch.add(np.ones(rows, np.int32), per_sequence, sequence, every_output=True)
        started = clock()
        _decode(backend, batch)
        return (clock() - started) * 1000
    finally:
        for sequence in range(sequences):
            backend.sequence_remove(sequence, 0)


def _decode(backend: Backend, batch: Batch) -> None:
    if backend.decode(batch) is not DecodeStatus.DONE:
        raise EngineFailed("The kernels did not compute a step while costs were measured")
