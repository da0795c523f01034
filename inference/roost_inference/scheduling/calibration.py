"""What steps cost on this machine, measured at the start: a few decodes of dummy tokens."""

import time
from collections.abc import Callable

import numpy as np

from roost_inference.backend import Backend, DecodeStatus
from roost_inference.batch import Batch
from roost_inference.errors import EngineFailed
from roost_inference.speculation.cost import Measurement

CONTEXT = 256
# (rows, context before them, repeats), the most telling first: a slow model measures only these.
# The tokens of the fourth stay, as the context of those that follow.
SHAPES = (
    (1, 0, 2),
    (64, 0, 1),
    (16, 0, 1),
    (CONTEXT, 0, 1),
    (64, CONTEXT, 1),
    (16, CONTEXT, 1),
    (1, CONTEXT, 2),
)
BUDGET_MS = 400.0


def calibrate(
    backend: Backend, rows_max: int, clock: Callable[[], float] = time.monotonic
) -> list[Measurement]:
    """Costs of steps in which one row has logits, by `clock`, the best of the repeats; as many
    as there is time for. Uses sequence 0 of an idle backend and leaves it empty."""
    batch, found = Batch(rows_max), list[Measurement]()
    try:
        _decode(backend, batch, 1, 0)  # the first touch of the weights says nothing
        backend.sequence_remove(0, 0)
        started = time.monotonic()
        for rows, context, repeats in SHAPES:
            late = (time.monotonic() - started) * 1000 > BUDGET_MS
            if (found and late) or rows > rows_max or context + rows > backend.cells:
                continue
            if context != backend.sequence_end(0):
                continue
            times: list[float] = []
            for _ in range(repeats):
                begun = clock()
                _decode(backend, batch, rows, context)
                times.append((clock() - begun) * 1000)
                if rows != CONTEXT:
                    backend.sequence_remove(0, context)
            found.append(Measurement(rows, context, min(times)))
    finally:
        backend.sequence_remove(0, 0)
    return found


def _decode(backend: Backend, batch: Batch, rows: int, context: int) -> None:
    batch.clear()
    batch.add(np.zeros(rows, np.int32), context, 0, output=True)
    if backend.decode(batch) is not DecodeStatus.DONE:
        raise EngineFailed("The kernels did not compute a first batch")
