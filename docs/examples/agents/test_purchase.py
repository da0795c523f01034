from collections.abc import Collection

import pytest

from purchase import ARRIVED, PAID, RESERVED, purchase
from roost.testing import FlowRun, kill_at_every_step, run_flow

LAMP = {"item": "A lamp", "euros": 40}
DAY_S = 24 * 3600


@pytest.fixture(autouse=True)
def empty_systems() -> None:
    empty()


def empty() -> None:
    RESERVED.clear()
    PAID.clear()
    ARRIVED.clear()


async def test_it_pays_after_a_yes_and_waits_for_days_in_no_time() -> None:
    ARRIVED.add("local:0")
    run = await run_flow(purchase, input=LAMP, approvals=[True])
    assert (run.state, run.text) == ("done", "A lamp came on day 1.")
    assert (run.slept_s, list(PAID.values()), run.undone) == (DAY_S, [40], ())


async def test_a_no_releases_it_unpaid() -> None:
    run = await run_flow(purchase, input=LAMP, approvals=[False])
    assert run.text == "Then I don't buy it."
    assert not PAID and not RESERVED


async def test_what_never_comes_is_taken_back_newest_first() -> None:
    run = await run_flow(purchase, input=LAMP, approvals=[True])
    assert (run.state, run.slept_s) == ("failed", 10 * DAY_S)
    assert run.undone == (("refund", "ok"), ("release", "ok"))
    assert not PAID and not RESERVED


async def test_a_stop_on_the_way_takes_it_back_as_well() -> None:
    run = await run_flow(purchase, input=LAMP, approvals=[True], stop_after=5)
    assert run.state == "stopped" and not PAID and not RESERVED


async def test_a_crash_at_any_moment_pays_once() -> None:
    async def run(kills: Collection[int]) -> FlowRun:
        empty()
        ARRIVED.add("local:0")
        ended = await run_flow(purchase, input=LAMP, approvals=[True], kills=kills)
        assert list(PAID.values()) == [40]
        return ended

    runs = await kill_at_every_step(run)
    assert len(runs) > 5
    assert {ended.text for ended in runs} == {"A lamp came on day 1."}
