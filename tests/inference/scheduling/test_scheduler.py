"""Decode goes first, prompts go on in chunks, everything ends, and no cell is lost."""

import random

import pytest

from roost_inference.batch import Batch
from roost_inference.errors import QueueFull
from roost_inference.testing.harness import (
    Collector,
    FakeClock,
    drive,
    random_request,
    request,
    toy_engine,
)
from roost_inference.testing.toy import END, ToyBackend, continuation

MS_PER_PROMPT_TOKEN = 1.0
MS_PER_STEP = 5.0


def costly(clock: FakeClock, *, cells: int, sequences: int = 16) -> ToyBackend:
    """A backend whose steps take fake time in proportion to their rows."""

    def pass_time(batch: Batch) -> None:
        clock.advance((MS_PER_STEP + MS_PER_PROMPT_TOKEN * batch.size) / 1000)

    return ToyBackend(on_decode=pass_time, cells=cells, sequences=sequences)


def test_when_cells_run_out_the_last_starts_over_and_all_texts_are_right() -> None:
    engine = toy_engine(ToyBackend(cells=150, sequences=8), max_running=6)
    heard = {f"prompt number {i} ": Collector() for i in range(6)}
    for prompt, listener in heard.items():
        engine.submit(request(prompt, 60), listener)
    drive(engine)
    assert engine.preemptions_total > 0
    for prompt, listener in heard.items():
        expected = continuation(list(prompt.encode()), 60)
        assert listener.tokens == [token for token in expected if token != END]


def test_a_prompt_that_does_not_fit_beside_others_waits_and_then_runs() -> None:
    engine = toy_engine(ToyBackend(cells=200), max_running=4)
    first, large = Collector(), Collector()
    engine.submit(request("f" * 50, 60, ignore_eos=True), first)
    engine.step()
    engine.submit(request("l" * 180, 10), large)
    engine.step()
    assert engine.stats().running == 1 and engine.stats().waiting == 1
    drive(engine)
    assert large.finish.usage.completion_tokens > 0


@pytest.mark.parametrize("truncates", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_a_random_day_loses_nothing_and_starves_nobody(seed: int, truncates: bool) -> None:
    rng, clock = random.Random(seed), FakeClock()
    backend = costly(clock, cells=400, sequences=10)
    backend.truncates = truncates
    engine = toy_engine(backend, max_running=6, batch_tokens=48, queue_limit=20, clock=clock)
    live: dict[str, tuple[str, int, Collector]] = {}
    done: list[tuple[str, int, Collector]] = []
    refused = 0
    for _ in range(600):
        if rng.random() < 0.15:
            prompt, wanted = random_request(rng, priorities=(0, 0, 0, 1))
            heard = Collector()
            try:
                engine.submit(wanted, heard)
                live[wanted.id] = (prompt, wanted.max_tokens, heard)
            except QueueFull:
                refused += 1
        if live and rng.random() < 0.05:
            victim = rng.choice(list(live))
            # some aborts come while a step is being computed
            if rng.random() < 0.5:
                engine.abort(victim)
            else:
                late_abort(backend, lambda victim=victim: engine.abort(victim))
        engine.step()
        engine.check()
        for name in [name for name, entry in live.items() if entry[2].is_finished]:
            done.append(live.pop(name))
    drive(engine)
    for prompt, count, heard in [*done, *live.values()]:
        full = [t for t in continuation(list(prompt.encode()), count) if t != END]
        assert heard.tokens == full[: len(heard.tokens)], "somebody else's cells"
        assert heard.finish.reason == "abort" or heard.tokens == full
    assert len(done) + len(live) + refused > 60
    assert engine.stats().running == engine.stats().waiting == 0


def late_abort(backend: ToyBackend, abort) -> None:  # type: ignore[no-untyped-def]
    """Run `abort` inside the next decode."""
    usual = backend.on_decode

    def once(batch: Batch) -> None:
        backend.on_decode = usual
        usual(batch)
        abort()

    backend.on_decode = once
