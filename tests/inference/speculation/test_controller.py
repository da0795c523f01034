"""Depths follow cost and acceptance: none where guesses fail, deep where they hold."""

import random

import pytest

from roost_inference.scheduling.cost import KNOTS, Measurement, StepCost
from roost_inference.speculation.acceptance import Acceptance, History, Rates
from roost_inference.speculation.controller import GAIN_MIN, choose_depths, choose_even_depth
from roost_inference.speculation.drafter import SLOTS, Proposal

# 2 cores, 135M parameters, Q4_0: see the design
MEASURED = [(1, 4.8), (4, 11.5), (8, 17.7), (16, 27.0)]


@pytest.fixture
def cost() -> StepCost:
    return StepCost([Measurement(rows, 0, ms) for rows, ms in MEASURED])


def falling(rate: float, count: int = 16) -> list[float]:
    return [rate ** (place + 1) for place in range(count)]


def test_poor_guesses_are_not_verified(cost: StepCost) -> None:
    assert choose_depths([falling(0.3)], lambda n: cost.ms(1 + n), 16).depths == (0,)


def test_sure_guesses_are_verified_to_the_end(cost: StepCost) -> None:
    choice = choose_depths([falling(0.99, 32)], lambda n: cost.ms(1 + n), 32)
    assert choice.depths == (32,)
    assert choice.rate > 2.5 / cost.ms(1)


def test_the_chosen_depths_are_the_best_there_are(cost: StepCost) -> None:
    rng = random.Random(1)
    for _ in range(50):
        survivals = [falling(rng.uniform(0.2, 1.0), rng.randrange(5)) for _ in range(3)]
        room = rng.randrange(12)
        choice = choose_depths(survivals, lambda n: cost.ms(3 + n), room)
        assert sum(choice.depths) <= room

        def rate(depths, survivals=survivals) -> float:  # type: ignore[no-untyped-def]
            gained = sum(sum(s[:d]) for s, d in zip(survivals, depths, strict=True))
            return (3 + gained) / cost.ms(3 + sum(depths))

        every = [
            (a, b, c)
            for a in range(len(survivals[0]) + 1)
            for b in range(len(survivals[1]) + 1)
            for c in range(len(survivals[2]) + 1)
            if a + b + c <= room
        ]
        assert rate(choice.depths) >= max(map(rate, every)) / (GAIN_MIN + 0.001)


def test_one_depth_for_all_is_the_best_there_is_and_counts_the_rows_that_fill_up(
    cost: StepCost,
) -> None:
    rng = random.Random(2)
    for _ in range(50):
        survivals = [falling(rng.uniform(0.2, 1.0), rng.randrange(5)) for _ in range(4)]
        room = rng.randrange(17)
        choice = choose_even_depth(survivals, lambda n: cost.ms(4 + n), room)
        depth = max(choice.depths)
        assert 4 * depth <= room
        assert choice.depths == tuple(min(depth, len(s)) for s in survivals)
        rates = [
            (4 + sum(sum(s[:d]) for s in survivals)) / cost.ms(4 + 4 * d)
            for d in range(min(room // 4, max(map(len, survivals))) + 1)
        ]
        assert rates[depth] >= max(rates) / (GAIN_MIN + 0.001)


def test_one_good_guess_among_many_answers_is_not_worth_rows_of_all(cost: StepCost) -> None:
    survivals = [falling(0.99, 8), [], [], []]
    assert max(choose_depths(survivals, lambda n: cost.ms(4 + n), 60).depths) > 0
    assert choose_even_depth(survivals, lambda n: cost.ms(4 + n), 60).depths == (0,) * 4
    alike = [falling(0.9)] * 4
    assert choose_even_depth(alike, lambda n: cost.ms(4 + n), 60).depths[0] > 0


def test_a_full_batch_makes_the_same_guess_less_worth(cost: StepCost) -> None:
    cost.load([Measurement(r, 0, ms) for r, ms in (*MEASURED, (32, 60.0), (64, 140.0))])
    guess = [0.75, 0.6, 0.5]
    alone = choose_depths([guess], lambda n: cost.ms(1 + n), 16).depths
    busy = choose_depths([guess] + [[]] * 31, lambda n: cost.ms(32 + n), 16).depths
    assert busy[0] <= alone[0]


def test_the_curve_goes_through_what_was_measured_and_never_falls(cost: StepCost) -> None:
    for rows, ms in MEASURED:
        assert cost.ms(rows) == pytest.approx(ms)
    assert 17.7 < cost.ms(12) < 27.0 < cost.ms(32) < cost.ms(100) < cost.ms(300)
    bumpy = StepCost([Measurement(1, 0, 5.0), Measurement(2, 0, 4.0), Measurement(4, 0, 9.0)])
    assert bumpy.ms(2) == 5.0
    single = StepCost([Measurement(1, 0, 8.0)])
    assert single.ms(1) == pytest.approx(8.0) and single.ms(16) > 16.0


def test_the_curve_follows_the_machine(cost: StepCost) -> None:
    for _ in range(300):
        cost.observe(1, 0.0, 9.6)
        cost.observe(8, 0.0, 35.4)
    assert cost.ms(1) == pytest.approx(9.6, rel=0.1)
    assert cost.ms(8) == pytest.approx(35.4, rel=0.1)
    assert cost.ms(16) > 30.0, "rows that were not seen are slower, too"


def test_a_long_context_makes_rows_dearer_except_in_a_whole_tile() -> None:
    curve = StepCost(
        [
            *(Measurement(rows, 0, ms) for rows, ms in (*MEASURED, (64, 90.0))),
            Measurement(1, 256, 6.0),
            Measurement(16, 256, 43.0),
            Measurement(64, 256, 106.0),
        ]
    )
    assert curve.ms(1, 1 * 512) == pytest.approx(4.8 + 2.4)
    assert curve.ms(16, 16 * 512) == pytest.approx(27.0 + 32.0)
    assert curve.ms(64, 64 * 512) == pytest.approx(90.0 + 32.0)
    assert curve.ms(64, 64 * 512) < curve.ms(48, 48 * 512)
    sure = [falling(0.995, 63)]
    deep = choose_depths(sure, lambda n: curve.ms(1 + n, (1 + n) * 1024), 63)
    assert deep.depths == (63,), "a whole tile"


def test_one_stalled_step_changes_little(cost: StepCost) -> None:
    cost.observe(4, 0.0, 5000.0)
    assert cost.ms(4) < 1.7 * 11.5
    assert all(cost.ms(rows) > 0 for rows in KNOTS)


def test_rates_are_learned_from_guesses_that_were_never_verified() -> None:
    acceptance = Acceptance(lambda slot: 0.9)
    for _ in range(150):
        history = History(proposal=Proposal([1, 2, 3], 4))
        acceptance.learn(history, [1, 7])
    assert acceptance.common.values[4] > 0.95
    assert acceptance.common.values[5] < 0.05
    assert acceptance.common.values[6] == 0.9, "nothing was learned of what comes after a miss"


def test_one_long_copy_does_not_teach_that_every_match_goes_on() -> None:
    acceptance, copying = Acceptance(lambda slot: 0.3), History()
    for _ in range(500):
        copying.proposal = Proposal([1] * SLOTS)
        acceptance.learn(copying, [1] * SLOTS)
    assert max(acceptance.common.values) < 0.5
    proposal = Proposal([1] * 4)
    assert acceptance.survivals(proposal, copying)[3] > 0.9, "the copy itself is trusted"
    assert acceptance.survivals(proposal, History())[0] < 0.5


def test_a_sequence_that_always_agrees_is_trusted_more_than_the_average() -> None:
    acceptance = Acceptance(lambda slot: 0.5)
    good, fresh = History(), History()
    for _ in range(10):
        good.proposal = Proposal([1] * 4)
        acceptance.learn(good, [1] * 4)
    acceptance.common = Rates([0.5] * SLOTS)
    proposal = Proposal([1] * 8)
    assert acceptance.survivals(proposal, good)[2] > 4 * acceptance.survivals(proposal, fresh)[2]
    for chances in (acceptance.survivals(proposal, good), acceptance.survivals(proposal, fresh)):
        assert chances == sorted(chances, reverse=True) and chances[0] <= 1.0
