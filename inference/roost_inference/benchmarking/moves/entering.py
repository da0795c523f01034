"""What it takes to give an answer KV of its own: copying its tokens to a stream."""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from roost_inference.backend import DecodeStatus
from roost_inference.batch import Batch
from roost_inference.benchmarking.bench import Bench
from roost_inference.benchmarking.figures import Figure, Goal, median
from roost_inference.errors import EngineFailed
from roost_inference.llama.backend import LlamaBackend
from roost_inference.process_environment import launch_environment

ENTERING = "entering"
TOKENS, ROWS, STREAMS = 1000, 500, 4
TRIES = 20
GOAL = Goal(5, 2)


async def measure(bench: Bench) -> None:
    """From the context where the prompt was just read, and from the library, in a process that is
    started as an engine's is. Raises EngineFailed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, str(bench.model), str(bench.parameters.threads)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **launch_environment()},
    )
    text, _ = await process.communicate()
    if process.returncode:
        raise EngineFailed(f"The process that copies tokens ended with {process.returncode}")
    read, stored = json.loads(text)
    bench.add(Figure(ENTERING, f"{TOKENS} tokens just read, to a stream", read, "ms", goal=GOAL))
    name = f"{TOKENS} tokens of the library, to a stream"
    bench.add(Figure(ENTERING, name, stored, "ms", goal=GOAL))


def main(model: Path, threads: int) -> None:
    """Print the medians of both in ms, as JSON. Raises EngineFailed."""
    backend = LlamaBackend(
        model,
        cells=(STREAMS + 1) * TOKENS,
        sequences=STREAMS,
        batch_tokens=ROWS,
        outputs=STREAMS,
        threads=threads,
        kv_type="f16",
        prefill_cells=2 * TOKENS,
        streams=STREAMS,
    )
    try:
        print(json.dumps([median(_just_read_ms(backend)), median(_stored_ms(backend))]))
    finally:
        backend.close()


def _just_read_ms(backend: LlamaBackend) -> list[float]:
    """Each stream is entered once by a prompt of its own."""
    batch, taken = Batch(ROWS), list[float]()
    for sequence in range(STREAMS):
        for start in range(0, TOKENS, ROWS):
            batch.clear()
            last = start + ROWS == TOKENS
            batch.add([1 + sequence] * ROWS, start, sequence, output=last)
            if backend.decode(batch) is not DecodeStatus.DONE:
                raise EngineFailed("The prompt was not read")
        taken.append(_enter_ms(backend, sequence))
    return taken


def _stored_ms(backend: LlamaBackend) -> list[float]:
    """One sequence enters again and again."""
    assert backend.streams is not None
    taken: list[float] = []
    for _ in range(TRIES):
        backend.streams.pool.leave(0)
        taken.append(_enter_ms(backend, 0))
    return taken


def _enter_ms(backend: LlamaBackend, sequence: int) -> float:
    """Raises EngineFailed without streams."""
    if backend.streams is None:
        raise EngineFailed("The model's answers get no KV of their own")
    pool, batch = backend.streams.pool, Batch(STREAMS)
    pool.enter_at = 1
    for inside in range(sequence + 1 if sequence not in pool else 1):
        batch.add([1], TOKENS, inside, output=True)
    started = time.perf_counter()
    pool.arrange(batch)
    taken = (time.perf_counter() - started) * 1000
    if sequence not in pool:
        raise EngineFailed("The answer did not enter a stream")
    return taken


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
