"""How long ago something was, on a machine whose clock is set."""

import pytest

from roost_channels.clock import SETS_MAX, Passed


class Machine:
    """A clock that can be set, and one that can't."""

    def __init__(self) -> None:
        self.now, self.ticks = 1_000.0, 5.0
        self.passed = Passed(lambda: self.now, lambda: self.ticks)

    def run(self, seconds: float) -> None:
        self.now, self.ticks = self.now + seconds, self.ticks + seconds


@pytest.mark.parametrize("by", [2.0, 300.0, 86_400.0])
def test_what_the_clock_was_set_forward_has_not_passed(by: float) -> None:
    machine, began = Machine(), 1_000.0
    machine.run(10.0)
    machine.now += by
    assert machine.passed.since(began) == pytest.approx(10.0)
    machine.run(5.0)
    assert machine.passed.since(began) == pytest.approx(15.0)
    later = machine.now
    machine.run(7.0)
    assert machine.passed.since(later) == pytest.approx(7.0)


def test_a_clock_that_is_put_back_makes_nothing_older() -> None:
    machine = Machine()
    machine.now -= 300.0
    assert machine.passed.since(1_000.0) <= 0.0
    later = machine.now
    machine.run(4.0)
    assert machine.passed.since(later) == pytest.approx(4.0)


def test_a_small_correction_is_believed_and_only_the_last_settings_are_remembered() -> None:
    machine = Machine()
    machine.now += 0.5
    assert machine.passed.since(1_000.0) == pytest.approx(0.5)
    for _ in range(SETS_MAX + 4):
        machine.now += 10.0
        machine.passed.since(1_000.0)
    assert machine.passed.since(1_000.0) == pytest.approx(40.5)
