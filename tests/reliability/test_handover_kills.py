"""kill -9 of real engines that hand KV over, and of the router that asks them.

`make chaos SCHEDULES=0 MINUTES=0 ARGS="--handovers 500"` does the same five hundred times.
"""

from pathlib import Path

import pytest

from roost_platform.chaos.handover.kills import POINTS, VICTIMS, plan_of, storm_of_kills

KILLS = 6


@pytest.mark.timeout(900)
def test_whoever_dies_at_whatever_step_the_answer_is_the_same_and_no_lease_is_left(
    tmp_path: Path,
) -> None:
    report = storm_of_kills(1, KILLS, tmp_path)
    assert not report.violations
    assert sum(report.kills.values()) == KILLS, report.kills
    assert report.offers > KILLS / 2
    assert report.fetched > 0


def test_the_plan_has_each_point_in_every_round_and_all_of_them_with_each_victim_in_three() -> None:
    plan = plan_of(5, 2 * len(POINTS) * len(VICTIMS))
    for start in range(0, len(plan), len(POINTS)):
        assert {point for point, _ in plan[start : start + len(POINTS)]} == set(POINTS)
    every = {(point, victim) for point in POINTS for victim in VICTIMS}
    assert set(plan[: len(every)]) == set(plan[len(every) :]) == every
