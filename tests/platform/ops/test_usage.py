"""Memory under load: what counts as flat, and how much is remembered of a run."""

import pytest

from roost_platform.chaos.usage import SAMPLES_MAX, ResidentSamples, price_of_waking, wakeups


def watched(minutes: float, mib_at: dict[float, float] | None = None) -> ResidentSamples:
    """A run looked at every second; `mib_at`: seconds and what the part has from then on."""
    samples, steps = ResidentSamples(minutes), mib_at or {0.0: 100.0}
    for second in range(int(minutes * 60)):
        samples.look(second, {"worker": max(v for at, v in steps.items() if at <= second)})
    return samples


def test_a_part_that_fills_its_caches_at_first_is_flat() -> None:
    filling = {0.0: 80.0, 60.0: 120.0, 300.0: 140.0}
    assert watched(30, filling).growth("worker") == pytest.approx(0, abs=1e-9)


def test_a_leak_shows_as_it_is() -> None:
    leak = {float(second): 100 + 0.5 * second / 60 for second in range(1800)}
    assert watched(30, leak).growth("worker") == pytest.approx(0.5, rel=0.05)


def test_one_step_of_an_arena_in_half_an_hour_is_within_what_counts_as_flat() -> None:
    late = {0.0: 100.0, 1350.0: 101.0}  # in the middle of the half that is judged
    assert watched(30, late).growth("worker") == pytest.approx(0.1, abs=0.005)


def test_samples_are_bounded_however_long_the_run_and_cover_it_all() -> None:
    taken = watched(120).taken["worker"]
    assert len(taken) <= SAMPLES_MAX
    assert taken[-1][0] > 0.95 * 120 * 60


def test_too_few_samples_have_no_slope() -> None:
    assert ResidentSamples(1).growth("nobody") == 0.0


def test_wakeups_of_a_part_are_those_of_all_its_threads_also_of_new_ones() -> None:
    before = {("web", 1): 10, ("web", 2): 5, ("courier", 3): 7, ("courier", 4): 100}
    after = {("web", 1): 13, ("web", 2): 5, ("courier", 3): 8, ("courier", 5): 2}
    assert wakeups(before, after) == {"web": 3, "courier": 3}


def test_waking_has_a_price_even_without_a_rest() -> None:
    assert price_of_waking(rest_s=0.0, rests=1) > 0
