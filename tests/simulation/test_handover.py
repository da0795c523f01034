"""Seeds of requests over engines that hand KV over and die: nothing is lost, no lease is left."""

from collections import Counter

from roost_inference.testing.peers.scripted import STEPS
from roost_platform.chaos.handover.simulation import Outcome, simulate

SEEDS = 150


def test_every_request_ends_with_its_answer_or_one_error_and_no_lease_is_left() -> None:
    steps: Counter[str] = Counter()
    kills: Counter[str] = Counter()
    answered = errors = 0
    for seed in range(SEEDS):
        outcome = simulate(seed)
        assert not outcome.violations, f"seed {seed}: {outcome.violations}"
        steps += outcome.steps
        kills += outcome.kills
        answered += outcome.answered
        errors += outcome.errors
    assert set(STEPS) <= set(kills), "somebody has to die at each step"
    assert steps["offered"] > SEEDS
    assert answered > 5 * errors


def test_a_seed_decides_everything() -> None:
    def told(outcome: Outcome) -> tuple[object, ...]:
        return outcome.answered, outcome.errors, outcome.steps, outcome.kills

    assert told(simulate(7)) == told(simulate(7))
