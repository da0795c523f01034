"""What is computed from measurements: ratios, percentiles, the ceiling of an infinite cache."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost_inference.benchmarking.figures import (
    Answered,
    Figure,
    Goal,
    infinite_cache_tokens,
    median,
    percentile,
)


def test_a_ratio_above_one_means_better_whichever_way_the_quantity_goes() -> None:
    faster = Figure("s", "TTFT", 100.0, "ms", True, "peer", 400.0)
    more = Figure("s", "rate", 30.0, "tok/s", False, "peer", 20.0)
    assert (faster.ratio, more.ratio) == (4.0, 1.5)


def test_nothing_to_compare_with_has_no_ratio() -> None:
    assert Figure("s", "n", 5.0, "ms").ratio is None
    assert Figure("s", "n", 0.0, "", False, "peer", 0.0).ratio is None


@pytest.mark.parametrize(("value", "reached"), [(25.0, True), (34.0, False)])
def test_a_goal_counts_against_the_ratio(value: float, reached: bool) -> None:
    figure = Figure("s", "n", value, "ms", True, "peer", 100.0, Goal(3, 4))
    assert figure.is_reached is reached


def test_without_another_the_goal_counts_against_the_value() -> None:
    assert Figure("s", "gap", 150.0, "ms", goal=Goal(200, 120)).is_reached is True
    assert Figure("s", "gap", 250.0, "ms", goal=Goal(200, 120)).is_reached is False
    assert Figure("s", "share", 0.5, "", False, goal=Goal(0.77, 0.785)).is_reached is False
    assert Figure("s", "share", 0.5, "").is_reached is None


def test_percentiles_are_values_that_were_measured() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [percentile(values, p) for p in (0, 50, 95, 100)] == [1.0, 3.0, 5.0, 5.0]


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 100))
def test_at_most_the_rest_lies_above_a_percentile(values: list[float], percent: float) -> None:
    found = percentile(values, percent)
    assert found in values
    above = sum(value > found for value in values)
    assert above <= len(values) * (1 - percent / 100) + 1e-6


def test_a_median_lies_in_the_middle() -> None:
    assert median([3.0, 1.0, 2.0]) == 2.0
    assert median([4.0, 1.0, 2.0, 3.0]) == 2.5


@pytest.mark.parametrize("of", [lambda: median([]), lambda: percentile([], 50)])
def test_figures_of_nothing_are_refused(of: object) -> None:
    with pytest.raises(ValueError, match="of nothing"):
        of()  # type: ignore[operator]


def test_the_first_request_shares_nothing() -> None:
    assert infinite_cache_tokens([Answered([1, 2, 3], [4])]) == 0


def test_a_later_turn_shares_prompt_and_answer_before_it_but_not_the_answers_last_token() -> None:
    first = Answered([1, 2, 3], [4, 5])
    later = Answered([1, 2, 3, 4, 5, 6, 7], [8])
    assert infinite_cache_tokens([first, later]) == 4


def test_sessions_share_what_they_begin_with() -> None:
    system = list(range(100, 110))
    requests = [Answered([*system, n, n + 1], [9]) for n in range(3)]
    assert infinite_cache_tokens(requests) == 20


def test_the_last_token_of_a_prompt_is_always_computed() -> None:
    same = Answered([1, 2, 3], [4])
    assert infinite_cache_tokens([same, same]) == 2


def test_the_longest_of_all_beginnings_counts() -> None:
    requests = [Answered([1, 2, 9], [5]), Answered([1, 2, 3, 4], [5]), Answered([1, 2, 3, 8], [5])]
    assert infinite_cache_tokens(requests) == 2 + 3


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=6))
def test_less_is_shared_than_was_asked(prompts: list[list[int]]) -> None:
    shared = infinite_cache_tokens([Answered(prompt, []) for prompt in prompts])
    assert 0 <= shared <= sum(len(prompt) - 1 for prompt in prompts[1:])
