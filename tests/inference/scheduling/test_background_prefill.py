"""A long prompt is read beside the answers, which hardly notice."""

from contextlib import suppress

import pytest

from roost_inference.batch import Batch
from roost_inference.engine import Engine
from roost_inference.errors import EngineFailed, QueueFull
from roost_inference.scheduling.background_prefill import BACKGROUND_ROWS
from roost_inference.scheduling.measurement import measured_cost
from roost_inference.testing.harness import Collector, FakeClock, drive, request, toy_engine
from roost_inference.testing.toy import ToyBackend

STEP_MS = 20.0
LONG = "r" * (46 * BACKGROUND_ROWS)


class Two:
    """A toy with two cores: steps of answers take fake time, pieces beside them none of theirs."""

    def __init__(self, *, background_polls: int = 2) -> None:
        self.clock = FakeClock()
        self.fails = False
        self.backend = ToyBackend(
            cells=8192,
            sequences=8,
            on_decode=self._pass,
            background_cells=4096,
            background_polls=background_polls,
        )
        cost = measured_cost(self.backend, rows_max=512, outputs_max=64, clock=self.clock)
        self.engine = toy_engine(self.backend, batch_tokens=512, clock=self.clock, cost=cost)
        self.backend.decoded.clear()

    def _pass(self, batch: Batch) -> None:
        if batch.capacity != BACKGROUND_ROWS:
            self.clock.advance((STEP_MS + batch.size / 4) / 1000)
        elif self.fails:
            raise EngineFailed("a piece failed")

    def write(self, tokens: int) -> Collector:
        """Somebody whose answer has begun."""
        writer = Collector()
        self.engine.submit(request("writer", tokens, ignore_eos=True), writer)
        for _ in range(5):
            self.engine.step()
        return writer

    def read(self, engine_steps: int) -> tuple[str, Collector]:
        """A long prompt, under way."""
        wanted, reader = request(LONG, 4, ignore_eos=True), Collector()
        self.engine.submit(wanted, reader)
        for _ in range(engine_steps):
            self.engine.step()
            self.engine.check()
        return wanted.id, reader


def alone(prompt: str, tokens: int) -> list[int]:
    """What is written when nothing is read beside anything."""
    engine, heard = toy_engine(ToyBackend(cells=8192)), Collector()
    engine.submit(request(prompt, tokens, ignore_eos=True), heard)
    drive(engine)
    return list(heard.tokens)


def freed(engine: Engine) -> bool:
    engine.check()
    engine._cache.evict_all()
    engine.check()
    return engine._cache.ledger.used == 0


def test_answers_go_on_while_a_long_prompt_is_read() -> None:
    two = Two()
    writer = two.write(400)
    before = len(two.engine.stats().inter_token_s)
    _, reader = two.read(10)
    while not reader.is_finished:
        two.engine.step()
        two.engine.check()
    assert two.backend.decoded.count(BACKGROUND_ROWS) == len(LONG) // BACKGROUND_ROWS
    gaps = two.engine.stats().inter_token_s[before:]
    assert max(gaps) <= 2 * STEP_MS / 1000
    drive(two.engine)
    assert list(reader.tokens) == alone(LONG, 4)
    assert list(writer.tokens) == alone("writer", 400)
    assert freed(two.engine)


def test_the_prompt_takes_the_whole_machine_when_the_answers_have_ended() -> None:
    two = Two()
    two.write(20)
    _, reader = two.read(0)
    drive(two.engine)
    assert reader.finish.usage.completion_tokens == 4
    assert BACKGROUND_ROWS in two.backend.decoded and max(two.backend.decoded) > 4 * BACKGROUND_ROWS
    assert freed(two.engine)


@pytest.mark.parametrize("steps", range(1, 6))
def test_an_abort_frees_what_is_read_beside_and_nobody_else_notices(steps: int) -> None:
    two = Two()
    writer = two.write(60)
    reading, reader = two.read(steps)
    two.engine.abort(reading)
    two.engine.step()
    two.engine.check()
    assert reader.finish.reason == "abort" and two.engine._background.step is None
    drive(two.engine)
    assert list(writer.tokens) == alone("writer", 60)
    assert freed(two.engine)


def test_an_abort_comes_through_while_only_the_piece_is_waited_for() -> None:
    two = Two(background_polls=1000)
    writer = two.write(20)
    reading, reader = two.read(2)
    while not writer.is_finished:
        two.engine.step()
    two.engine.abort(reading)
    two.engine.step()
    assert reader.finish.reason == "abort"
    assert freed(two.engine)


def test_a_piece_that_fails_fails_what_runs_and_the_next_request_is_served() -> None:
    two = Two()
    writer = two.write(60)
    two.fails = True
    _, reader = two.read(0)
    with pytest.raises(EngineFailed):
        drive(two.engine)
    two.engine._give_up_step(EngineFailed("a piece failed"))
    assert reader.finish.reason == writer.finish.reason == "error"
    two.fails = False
    after = Collector()
    two.engine.submit(request("after", 3, ignore_eos=True), after)
    drive(two.engine)
    assert list(after.tokens) == alone("after", 3)
    assert freed(two.engine)


def test_a_piece_that_the_backend_refuses_reserves_nothing_and_the_prompt_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    two = Two()
    writer = two.write(30)
    monkeypatch.setattr(two.backend, "begin_prefill", lambda batch: False)
    _, reader = two.read(10)
    assert two.engine._background.step is None and reader.tokens == []
    drive(two.engine)
    assert list(writer.tokens) == alone("writer", 30)
    assert list(reader.tokens) == alone(LONG, 4)
    assert freed(two.engine)


def test_a_short_prompt_waits_for_the_piece_at_most() -> None:
    two = Two()
    two.write(400)
    two.read(3)
    short = Collector()
    two.engine.submit(request("s" * 40, 1), short)
    for _ in range(2 * 3):
        two.engine.step()
    assert short.is_finished


def test_a_long_prompt_gets_on_however_many_short_ones_come() -> None:
    two = Two()
    two.write(1500)
    _, reader = two.read(3)
    for number in range(1000):
        if reader.is_finished:
            break
        with suppress(QueueFull):  # they come faster than they can be read
            two.engine.submit(request(f"{number:04}" * 10, 1), Collector())
        two.engine.step()
        two.engine.step()
    assert reader.is_finished
