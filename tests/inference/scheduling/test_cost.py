"""The cost curve tells rows from logits and the machine from its neighbours, measured in bounds."""

import pytest

from roost_inference.batch import Batch
from roost_inference.scheduling.cost import Measurement, StepCost
from roost_inference.scheduling.measurement import ROUNDS, SHAPES, measure, measured_cost
from roost_inference.testing.harness import FakeClock
from roost_inference.testing.toy import ToyBackend


def machine_ms(rows: int, outputs: int) -> float:
    return 4.0 + 0.5 * rows + 0.3 * outputs


def machine(cells: int = 1024) -> tuple[ToyBackend, FakeClock]:
    clock = FakeClock()

    def compute(batch: Batch) -> None:
        outputs = int(batch.outputs[: batch.size].sum())
        clock.advance(machine_ms(batch.size, outputs) / 1000)

    return ToyBackend(cells=cells, on_decode=compute), clock


def test_logits_of_drafts_are_told_from_rows_of_prompts() -> None:
    backend, clock = machine()
    cost = measured_cost(backend, rows_max=512, outputs_max=64, clock=clock)
    for rows in (1, 4, 12, 16, 40, 64):
        for outputs in (1, rows):
            expected = pytest.approx(machine_ms(rows, outputs), rel=0.02)
            assert cost.ms(rows, 0.0, outputs) == expected


def test_a_neighbour_slows_the_clock_and_not_what_is_computed() -> None:
    backend, clock = machine()
    cost = measured_cost(backend, rows_max=512, outputs_max=64, clock=clock)
    alone = cost.busy_ms(8, 0.0, 8)
    for _ in range(30):
        cost.observe(1, 0.0, 3 * machine_ms(1, 1), busy_ms=machine_ms(1, 1))
    assert cost.ms(8, 0.0, 8) == pytest.approx(3 * alone, rel=0.05)
    assert cost.busy_ms(8, 0.0, 8) == pytest.approx(alone, rel=0.02)


def test_a_step_too_short_for_the_clock_teaches_nothing() -> None:
    cost = StepCost()
    before = cost.ms(1)
    cost.observe(1, 0.0, 0.0)
    assert cost.ms(1) == before


@pytest.mark.parametrize("ms", [0.0, 5.0])
def test_steps_that_look_alike_give_a_price_all_the_same(ms: float) -> None:
    shapes = ((1, 0), (4, 0), (8, 0), (1, 256), (8, 256))
    cost = StepCost([Measurement(rows, context, ms) for rows, context in shapes])
    assert cost.ms(1) > 0 and cost.ms(64, 64 * 256) > cost.ms(1)
    cost.observe(8, 8 * 256, 1.0)
    assert 0 < cost.ms(8, 8 * 256) < float("inf")


def test_measuring_ends_after_the_first_shape_when_its_time_is_up() -> None:
    backend, clock = machine()
    found = measure(backend, rows_max=512, outputs_max=64, budget_ms=0.0, clock=clock)
    assert [(m.rows, m.context) for m in found] == [(1, 0)]
    assert backend.sequence_end(0) == 0


def test_measuring_takes_so_many_rounds_and_leaves_the_backend_empty() -> None:
    backend, clock = machine(cells=256)
    measure(backend, rows_max=512, outputs_max=64, budget_ms=1e9, clock=clock)
    assert len(backend.decoded) == 1 + ROUNDS * len(SHAPES)
    assert backend.sequence_end(0) == 0


def test_measuring_asks_for_no_more_logits_than_there_is_room_for() -> None:
    backend, clock = machine()
    for outputs_max in (1, 9):
        found = measure(backend, rows_max=512, outputs_max=outputs_max, clock=clock)
        assert max(m.outputs for m in found) <= outputs_max
        assert {m.context for m in found} == {0, 256}
