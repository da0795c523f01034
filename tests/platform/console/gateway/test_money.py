"""Amounts of money are shown to the digit that counts and read as people write them."""

import pytest

from roost_platform.errors import Refused
from roost_platform.views.gateway.money import dollars, exact_dollars, microusd


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0, "$0"),
        (1, "$0.000001"),
        (17, "$0.000017"),
        (100_000, "$0.10"),
        (999_999, "$0.999999"),
        (1_000_000, "$1.00"),
        (1_234_567, "$1.23"),
        (1_234_567_890_000, "$1\u202f234\u202f567.89"),
        (None, "\N{EN DASH}"),
    ],
)
def test_an_amount_is_shown_to_the_digit_that_counts(amount: int | None, shown: str) -> None:
    assert dollars(amount) == shown


def test_programs_get_every_digit() -> None:
    assert exact_dollars(1) == "0.000001"
    assert exact_dollars(1_234_567) == "1.234567"
    assert exact_dollars(0) == "0"


@pytest.mark.parametrize(
    ("text", "amount"), [("5", 5_000_000), (" $0.25 ", 250_000), ("0.000001", 1), ("1e3", 10**9)]
)
def test_an_amount_is_read_exactly(text: str, amount: int) -> None:
    assert microusd(text) == amount


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "NaN", "Infinity", "1e10", "1e-7", "1,5"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        microusd(text)
