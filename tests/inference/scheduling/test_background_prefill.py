"""A long prompt is read beside the answers, which get a step now and then."""

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roost_inference.batch import TILE_ROWS, Batch
from roost_inference.engine import Engine
from roost_inference.errors import EngineFailed, QueueFull
from roost_inference.scheduling.cost import Measurement, StepCost
from roost_inference.scheduling.measurement import measured_cost
from roost_inference.scheduling.pacing import (
    BESIDE_TARGETS,
    PACE_TARGETS,
    PIECE_TARGETS_MAX,
    Pacer,
)
from roost_inference.testing.harness import Collector, FakeClock, drive, request, toy_engine
from roost_inference.testing.toy import ToyBackend

STEP_MS, POLL_MS = 20.0, 5.0
TARGET_MS = 100.0
ROWS = 512
LONG = "r" * (7 * ROWS)


class Two:
    """A toy with two cores: steps of answers take fake time, `beside` times as much beside a
    piece, and so does each look at whether the piece is done."""

    def __init__(
        self, *, background_polls: int = 100, step_ms: float = STEP_MS, beside: float = 3.0
    ) -> None:
        self.clock = FakeClock()
        self.fails = False
        self.step_ms, self.beside = step_ms, beside
        self.pieces: list[int] = []
        self.backend = ToyBackend(
            cells=8192,
            sequences=8,
            on_decode=self._pass,
            background_cells=4096,
            background_polls=background_polls,
            on_poll=lambda: self.clock.advance(POLL_MS / 1000),
        )
        cost = measured_cost(self.backend, rows_max=512, outputs_max=64, clock=self.clock)
        self.engine = toy_engine(self.backend, batch_tokens=ROWS, clock=self.clock, cost=cost)
        self.backend.decoded.clear()

    def _pass(self, batch: Batch) -> None:
        piece = getattr(self, "engine", None) and self.engine._background.step
        if piece and piece.batch is batch:
            self.pieces.append(batch.size)
            if self.fails:
                raise EngineFailed("a piece failed")
            return
        self.clock.advance((self.beside if piece else 1) * (self.step_ms + batch.size / 4) / 1000)

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
    assert two.pieces == [ROWS] * (len(LONG) // ROWS)
    gaps = two.engine.stats().inter_token_s[before:]
    assert max(gaps) <= PACE_TARGETS * TARGET_MS / 1000
    assert len(gaps) >= len(two.pieces) * 100 * POLL_MS / (2 * PACE_TARGETS * TARGET_MS)
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
    assert 0 < len(two.pieces) < two.backend.decoded.count(ROWS)
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


def test_an_abort_comes_through_while_only_the_piece_is_left() -> None:
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
    monkeypatch.setattr(two.backend, "begin_prefill", lambda batch, on_end: False)
    _, reader = two.read(10)
    assert two.engine._background.step is None and reader.tokens == []
    drive(two.engine)
    assert list(writer.tokens) == alone("writer", 30)
    assert list(reader.tokens) == alone(LONG, 4)
    assert freed(two.engine)


def test_a_short_prompt_is_read_beside_the_piece() -> None:
    two = Two(background_polls=1000)
    two.write(400)
    two.read(3)
    short = Collector()
    two.engine.submit(request("s" * 40, 1), short)
    began = two.clock.now
    while not short.is_finished:
        two.engine.step()
        two.engine.check()
    assert two.clock.now - began <= 3 * BESIDE_TARGETS * TARGET_MS / 1000
    assert two.pieces == [] and two.engine._background.step is not None


def test_a_prompt_that_the_answers_can_t_wait_for_beside_the_piece_comes_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    two = Two()
    monkeypatch.setattr(two.engine._scheduler._pacer.cost._beside, "follow", lambda *_: 1.0)
    two.engine._scheduler._pacer.cost._beside.factor = 100.0
    two.write(400)
    two.read(3)
    other = Collector()
    two.engine.submit(request("s" * 400, 1), other)
    while not other.is_finished:
        two.engine.step()
    assert two.pieces == [ROWS]


def test_answers_that_nobody_waits_for_give_way_to_the_prompt() -> None:
    two = Two()
    writer = Collector()
    two.engine.submit(request("writer", 60, ignore_eos=True, priority=2), writer)
    for _ in range(5):
        two.engine.step()
    _, reader = two.read(1)
    written = len(writer.tokens)
    while not reader.is_finished:
        two.engine.step()
    seconds = len(two.pieces) * 100 * POLL_MS / 1000
    assert len(writer.tokens) - written <= 3 + seconds / 0.8
    drive(two.engine)
    assert list(writer.tokens) == alone("writer", 60)


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


@pytest.mark.parametrize("step_ms", [STEP_MS, 500.0])
def test_a_piece_gets_on_between_steps_however_slow_they_are_and_however_many_prompts_wait(
    step_ms: float,
) -> None:
    two = Two(background_polls=10**6, step_ms=step_ms, beside=1.0)
    two.write(3000)
    two.read(3)
    paused: list[float] = []
    compute = two.backend.on_decode

    def timed(batch: Batch) -> None:
        before = two.clock.now
        compute(batch)
        paused.append(two.clock.now - before)

    two.backend.on_decode = timed
    began = two.clock.now
    for number in range(5000):
        if len(paused) >= 40:
            break
        with suppress(QueueFull):
            two.engine.submit(request(f"{number:04}" * 10, 1), Collector())
        two.engine.step()
        two.engine.check()
    # Answers and prompts each leave it PIECE_SHARE of the time that they took.
    assert two.engine._background.step is not None and len(paused) >= 40
    assert sum(paused) <= 0.75 * (two.clock.now - began)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    step_ms=st.floats(2.0, 400.0),
    beside=st.floats(1.0, 8.0),
    later=st.floats(0.7, 1.3),
    polls=st.integers(1, 400),
)
def test_no_answer_waits_longer_than_two_targets_unless_a_step_alone_takes_as_long(
    step_ms: float, beside: float, later: float, polls: int
) -> None:
    two = Two(background_polls=polls, step_ms=step_ms, beside=beside)
    writer = two.write(300)
    for _ in range(10):
        two.engine.step()
    _, reader = two.read(0)
    learned = 0
    while not reader.is_finished and not writer.is_finished:
        two.engine.step()
        if learned == 0 and len(writer.tokens) > 40:
            learned = len(two.engine.stats().inter_token_s)
            two.beside *= later
    gaps = two.engine.stats().inter_token_s[learned:]
    beside_ms = two.beside * (step_ms + 1)
    # Nobody can write faster than a step takes, and the end of a piece is a step like any other.
    longest_ms = max(PACE_TARGETS * TARGET_MS, 2 * beside_ms) + POLL_MS
    if learned:
        assert max(gaps, default=0.0) * 1000 <= longest_ms
    assert reader.is_finished or writer.is_finished


@given(
    row_ms=st.floats(0.01, 100.0),
    target_ms=st.floats(10.0, 1000.0),
    wanted=st.integers(16, 4096),
    context=st.integers(0, 100_000),
)
def test_a_piece_is_bounded_by_its_time_down_to_a_tile(
    row_ms: float, target_ms: float, wanted: int, context: int
) -> None:
    cost = StepCost([Measurement(1, 0, 2 * row_ms), Measurement(64, 0, 64 * row_ms)])
    pacer = Pacer(target_ms, cost)
    rows = pacer.piece(wanted, context)
    assert min(wanted, TILE_ROWS) <= rows <= wanted
    bound_ms = PIECE_TARGETS_MAX * target_ms
    assert rows <= TILE_ROWS or pacer.prefill_ms(rows, context) <= bound_ms
