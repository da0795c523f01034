"""What it takes to give an answer KV of its own: copying its tokens to a stream."""

import time

from roost_inference.backend import DecodeStatus
from roost_inference.batch import Batch
from roost_inference.benchmarking.bench import Bench
from roost_inference.benchmarking.figures import Figure, Goal, median
from roost_inference.errors import EngineFailed
from roost_inference.llama.backend import LlamaBackend

ENTERING = "entering"
TOKENS, ROWS, STREAMS = 1000, 500, 4
TRIES = 20
GOAL = Goal(5, 2)


async def measure(bench: Bench) -> None:
    """From the context where the prompt was just read, and from the library."""
    backend = LlamaBackend(
        bench.model,
        cells=4 * TOKENS,
        sequences=STREAMS,
        batch_tokens=ROWS,
        outputs=STREAMS,
        threads=bench.parameters.threads,
        kv_type="f16",
        prefill_cells=2 * TOKENS,
        streams=STREAMS,
    )
    try:
        read, stored = _entering_ms(backend)
    finally:
        backend.close()
    bench.add(Figure(ENTERING, f"{TOKENS} tokens just read, to a stream", read, "ms", goal=GOAL))
    name = f"{TOKENS} tokens of the library, to a stream"
    bench.add(Figure(ENTERING, name, median(stored), "ms", goal=GOAL))


def _entering_ms(backend: LlamaBackend) -> tuple[float, list[float]]:
    """The first time, and later ones. Raises EngineFailed without streams."""
    if backend.streams is None:
        raise EngineFailed("The model's answers get no KV of their own")
    pool, batch = backend.streams.pool, Batch(ROWS)
    pool.enter_at = 1
    for start in range(0, TOKENS, ROWS):
        batch.clear()
        batch.add([1] * ROWS, start, 0, output=start + ROWS == TOKENS)
        if backend.decode(batch) is not DecodeStatus.DONE:
            raise EngineFailed("The prompt was not read")
    batch.clear()
    batch.add([1], TOKENS, 0, output=True)
    taken: list[float] = []
    for _ in range(1 + TRIES):
        started = time.perf_counter()
        pool.arrange(batch)
        taken.append((time.perf_counter() - started) * 1000)
        if 0 not in pool:
            raise EngineFailed("The answer did not enter a stream")
        pool.leave(0)
    return taken[0], taken[1:]
