"""What Python takes of a token: the time of the engine thread outside the kernels."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from roost_inference.benchmarking.bench import Bench
from roost_inference.benchmarking.figures import Figure, Goal, median
from roost_inference.engine import Engine
from roost_inference.llama import bindings
from roost_inference.llama.backend import LlamaBackend
from roost_inference.request import Event, ModelInfo, Request, SamplingParams
from roost_inference.scheduling.cost import StepCost

CONTEXT, BATCH, PROMPT_TOKENS = 8192, 512, 24
# Steps before the measured ones: all prompts are read and all answers have their streams.
FIRST_STEPS = 8
MANY_SEQUENCES = 4
GOAL = Goal(0.25, 0.15)


def python_ms(bench: Bench) -> dict[int, float]:
    """Milliseconds of Python a token by number of answers, the median over steps."""
    backend = LlamaBackend(
        bench.model,
        cells=CONTEXT,
        sequences=2 * max(bench.parameters.decode_sequences),
        batch_tokens=BATCH,
        outputs=2 * max(bench.parameters.decode_sequences),
        threads=bench.parameters.threads,
        kv_type="f16",
        prefill_cells=CONTEXT // 2,
        streams=max(bench.parameters.decode_sequences),
    )
    engine = _engine(backend, max(bench.parameters.decode_sequences))
    try:
        return {
            count: _of(engine, count, bench.parameters.decode_tokens)
            for count in bench.parameters.decode_sequences
        }
    finally:
        engine.close()


def measure(bench: Bench, scenario: str) -> None:
    """Add a figure for each number of answers."""
    for count, ms in python_ms(bench).items():
        name = f"Python a token, {count} {'sequence' if count == 1 else 'sequences'}"
        goal = GOAL if count >= MANY_SEQUENCES else None
        bench.add(Figure(scenario, name, ms, "ms", goal=goal))


def _engine(backend: LlamaBackend, answers: int) -> Engine:
    model = ModelInfo(
        name="measured",
        path=str(backend.path),
        context_length=CONTEXT,
        vocabulary_size=backend.vocabulary.size,
        chat_template="",
        bos="",
        eos="",
        build=bindings.build_id(),
    )
    return Engine(
        backend,
        model,
        max_sequences=backend.sequences,
        max_running=answers,
        batch_tokens=BATCH,
        resident_cells=0,
        queue_limit=2 * answers,
        cost=StepCost(),
    )


def _of(engine: Engine, count: int, tokens: int) -> float:
    """Milliseconds of Python a token while so many answers are written side by side."""
    heard: list[Event] = []
    for number in range(count):
        prompt = tuple(range(100 + number, 100 + number + PROMPT_TOKENS))
        engine.submit(
            Request(
                f"{count}-{number}",
                prompt,
                count + FIRST_STEPS + tokens + 1,
                SamplingParams(temperature=0.0),
                ignore_eos=True,
            ),
            heard.append,
        )
    for _ in range(count + FIRST_STEPS):
        engine.step()
    taken: list[float] = []
    with _library_time() as library:
        for _ in range(tokens):
            library[0], started = 0.0, time.thread_time()
            engine.step()
            taken.append((time.thread_time() - started - library[0]) * 1000 / count)
    while engine.has_work:
        engine.step()
    return median(taken)


@contextlib.contextmanager
def _library_time() -> Iterator[list[float]]:
    """A list of one number, to which decodes add the seconds that they take of this thread."""
    spent, decode = [0.0], bindings.decode

    def timed(context: Any, batch: Any, rows: int) -> int:
        started = time.thread_time()
        try:
            return decode(context, batch, rows)
        finally:
            spent[0] += time.thread_time() - started

    bindings.decode = timed
    try:
        yield spent
    finally:
        bindings.decode = decode
