"""Chunks of prompts are as large as the target for the answers being written allows."""

import pytest

from roost_inference.batch import TILE_ROWS, Batch
from roost_inference.engine import Engine
from roost_inference.scheduling.cost import StepCost
from roost_inference.scheduling.measurement import measured_cost
from roost_inference.scheduling.pacing import (
    BEHIND_TARGETS_MAX,
    CHUNK_TOKENS_MIN,
    PACE_TARGETS,
    Pacer,
)
from roost_inference.testing.harness import Collector, FakeClock, drive, request, toy_engine
from roost_inference.testing.toy import ToyBackend

TARGET_MS = 100.0


def machine_ms(rows: int, work: float) -> float:
    """SmolLM2-135M on two cores: dear attention for a few rows, cheap for whole tiles of 64."""
    if rows == 1:
        return 4.8 + 0.0012 * work
    tiles = -(-rows // TILE_ROWS)
    if rows < TILE_ROWS:
        return 4.0 + 0.56 * rows + 0.00145 * work
    return 4.0 + 0.56 * rows + 0.0005 * work * (tiles * TILE_ROWS / rows)


def work_of(batch: Batch) -> float:
    return float(batch.positions[: batch.size].sum())


class Machine:
    """A toy backend whose steps take fake time, `slower` times as long as the model says."""

    def __init__(self, cells: int = 8192) -> None:
        self.clock = FakeClock()
        self.slower = 1.0
        self.backend = ToyBackend(cells=cells, sequences=8, on_decode=self._pass)

    def engine(self) -> Engine:
        engine = toy_engine(self.backend, batch_tokens=512, clock=self.clock, cost=self.cost())
        self.backend.decoded.clear()
        return engine

    def cost(self) -> StepCost:
        return measured_cost(self.backend, rows_max=512, outputs_max=64, clock=self.clock)

    def _pass(self, batch: Batch) -> None:
        self.clock.advance(self.slower * machine_ms(batch.size, work_of(batch)) / 1000)


def test_costs_are_known_over_rows_and_contexts_after_the_start() -> None:
    cost = Machine().cost()
    for rows in (1, 4, 16, 40, 64, 128, 192, 512):
        for context in (0, 100, 1000, 4000):
            work = rows * (context + rows / 2)
            assert cost.ms(rows, work) == pytest.approx(machine_ms(rows, work), rel=0.3)


def test_nobody_who_writes_waits_longer_than_two_targets_for_a_long_prompt() -> None:
    machine = Machine()
    engine = machine.engine()
    writer, reader = Collector(), Collector()
    engine.submit(request("writer", 150, ignore_eos=True), writer)
    for _ in range(10):
        engine.step()
    engine.submit(request("r" * 4000, 4), reader)
    drive(engine)
    assert reader.finish.usage.completion_tokens > 0
    assert max(engine.stats().inter_token_s) <= 2.0 * TARGET_MS / 1000
    # whole tiles as long as they hold the target, smaller chunks behind a long context
    prompts = [rows for rows in machine.backend.decoded if rows > 1][1:]
    assert prompts[0] >= 2 * TILE_ROWS and prompts[0] % TILE_ROWS == 0
    assert TILE_ROWS in prompts and min(prompts[:-1]) < TILE_ROWS


def test_a_short_prompt_is_read_whole_while_others_write() -> None:
    machine = Machine()
    engine = machine.engine()
    engine.submit(request("writer", 60, ignore_eos=True), Collector())
    for _ in range(10):
        engine.step()
    machine.backend.decoded.clear()
    engine.submit(request("s" * 300, 4), Collector())
    drive(engine)
    assert max(machine.backend.decoded) == 300


def test_a_stream_of_short_prompts_keeps_no_answer_below_its_pace() -> None:
    machine = Machine()
    machine.slower = 3.0
    engine = machine.engine()
    writer = Collector()
    engine.submit(request("writer", 100, ignore_eos=True), writer)
    engine.step()
    began = machine.clock()
    for number in range(2000):
        if writer.is_finished:
            break
        if number % 2 == 0:
            text = f"{number:04}" * 70
            engine.submit(request(text, 1, ignore_eos=True), Collector())
        engine.step()
    took_ms = (machine.clock() - began) * 1000
    pace_ms = PACE_TARGETS * TARGET_MS * writer.finish.usage.completion_tokens
    assert max(machine.backend.decoded) == 280
    # costs are believed after two steps, so the last prompt may have been dearer than expected
    assert took_ms <= pace_ms + 2 * BEHIND_TARGETS_MAX * TARGET_MS


def test_a_neighbour_that_takes_the_processor_is_answered_with_smaller_chunks() -> None:
    machine = Machine()
    engine = machine.engine()
    engine.submit(request("writer", 400, ignore_eos=True), Collector())
    engine.step()
    engine.submit(request("r" * 3000, 1), Collector())
    engine.step()
    machine.slower = 2.0
    for _ in range(10):
        engine.step()
    before = len(engine.stats().inter_token_s)
    drive(engine)
    # a whole tile at most where the target is out of reach
    assert max(engine.stats().inter_token_s[before:]) <= 3 * TARGET_MS / 1000
    assert max(machine.backend.decoded[-40:]) <= TILE_ROWS


def test_one_stall_changes_nothing_and_a_second_is_believed() -> None:
    cost = Machine().cost()
    for _ in range(6):
        cost.observe(64, 64 * 32, machine_ms(64, 64 * 32))
    before = cost.ms(64, 64 * 32)
    cost.observe(64, 64 * 32, 10_000.0)
    assert cost.ms(64, 64 * 32) == pytest.approx(before, rel=0.1)
    cost.observe(64, 64 * 32, 10_000.0)
    assert cost.ms(64, 64 * 32) > 1.5 * before


def test_wrong_first_measurements_are_unlearned() -> None:
    cost = StepCost()
    for _ in range(60):
        for rows, context in ((1, 200), (64, 0), (64, 2000), (8, 2000), (128, 500)):
            work = rows * (context + rows / 2)
            cost.observe(rows, work, machine_ms(rows, work))
    for rows, context in ((1, 200), (64, 1000), (128, 500)):
        work = rows * (context + rows / 2)
        assert cost.ms(rows, work) == pytest.approx(machine_ms(rows, work), rel=0.35)


def test_a_prompt_alone_takes_the_whole_batch_unless_that_takes_long() -> None:
    machine = Machine()
    engine = machine.engine()
    engine.submit(request("p" * 3000, 1), Collector())
    drive(engine)
    sizes = machine.backend.decoded
    assert sizes == [512, 512, 512, 512, 256, 256, 192, 248]


def test_a_prompt_after_the_last_answer_takes_the_whole_batch_at_once() -> None:
    machine = Machine()
    engine = machine.engine()
    engine.submit(request("writer", 5, ignore_eos=True), Collector())
    drive(engine)
    machine.backend.decoded.clear()
    engine.submit(request("p" * 3000, 1), Collector())
    engine.step()
    assert machine.backend.decoded == [512]


def test_a_prompt_gets_on_whatever_the_target_says() -> None:
    pacer = Pacer(0.001, StepCost())
    assert pacer.chunk(63, 3000, decoding_ms=50.0) == CHUNK_TOKENS_MIN
    assert pacer.chunk(4000, 3000, decoding_ms=50.0) in (CHUNK_TOKENS_MIN, TILE_ROWS)
    assert pacer.chunk(3, 3000, decoding_ms=50.0) == 3
    assert pacer.chunk(4000, 0, decoding_ms=50.0, rows=8, work=10.0) == 0
