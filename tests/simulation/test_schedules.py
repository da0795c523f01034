"""Seeded schedules of faults and crashes over the real lanes, stores, intake and fakes."""

from dataclasses import replace
from pathlib import Path

import pytest

from roost_platform.chaos.sim.plan import Crash, Plan, Says, Strike, draw, draw_waits
from roost_platform.chaos.sim.run import Failure, run, shrunk
from roost_platform.chaos.sim.schedule import Outcome, simulate

SEEDS = [
    int(line.split()[0])
    for line in (Path(__file__).parent / "seeds.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
# `make chaos` runs ten thousand; these are others, so that both add to what was tried.
FIRST_SEED, SCHEDULES = 1_000_000, 12

WAITING = (3003, 1015)

ONE_QUESTION = Plan(1, (Says(0.5, "101", "w1", think_s=2.0),))


def trace(outcome: Outcome) -> object:
    record = outcome.record
    shown = [(message.chat, message.place, message.text) for message in record.shown]
    return shown, record.accepted, outcome.points, outcome.calls, outcome.took_s


def test_no_schedule_loses_doubles_or_reorders_anything() -> None:
    tally = run(FIRST_SEED, SCHEDULES, workers=1)
    assert tally.schedules == SCHEDULES and tally.messages >= SCHEDULES
    assert not tally.failures


@pytest.mark.parametrize("seed", WAITING)
def test_a_seed_with_waits_holds(seed: int) -> None:
    """Each of them has approvals, questions, children, a flow, or a schedule, and a crash."""
    outcome = simulate(draw_waits(seed))
    assert outcome.violations == []
    waits = outcome.record.waits
    assert waits.acted or waits.handed or waits.reminded


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_that_once_failed_holds(seed: int) -> None:
    assert simulate(draw(seed)).violations == []


def test_the_same_seed_gives_the_same_run() -> None:
    first, second = (simulate(draw(9)) for _ in range(2))
    assert trace(first) == trace(second)


@pytest.mark.parametrize("part", ["courier", "worker"])
def test_a_part_that_dies_at_any_await_of_an_answer_costs_nothing(part: str) -> None:
    """Every seventh await here, for time's sake; `make chaos` draws them all."""
    awaits = simulate(ONE_QUESTION).points[part]
    for point in range(1, awaits, 7):
        plan = replace(ONE_QUESTION, crashes=(Crash(part, point, 0.2),))
        assert simulate(plan).violations == [], f"{part} died at its await {point}"


@pytest.mark.parametrize("chat", ["101", "whatsapp:+4915550010001"])
def test_a_part_that_dies_while_a_delivery_is_stopped_leaves_nothing_unsaid(chat: str) -> None:
    """The rest of a long answer is dropped, and one notice says how much was sent."""
    says = (Says(0.5, chat, "w1", fill=3000), Says(3.0, chat, "w2", command="/stop"))
    plan = Plan(5, (*says, Says(6.0, chat, "w3")))
    whole = simulate(plan)
    told = [shown.text for shown in whole.record.shown if shown.text.startswith("Stopped: ")]
    parts = [shown for shown in whole.record.shown if "w1." in shown.text]
    assert len(told) == 1 and f": {len(parts)} of " in told[0]
    assert whole.violations == []
    for part in ("courier", "web"):
        awaits = whole.points[part]
        for point in range(awaits // 3, awaits, max(awaits // 12, 1)):
            crashed = replace(plan, crashes=(Crash(part, point, 0.2),))
            assert simulate(crashed).violations == [], f"{part} died at its await {point}"


def test_a_broken_rule_is_found_and_shrunk_to_what_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without its label a repeat is a violation: the strike that makes it stays, the rest goes."""
    monkeypatch.setattr("roost_channels.delivery.settler.labelled", lambda part: part)
    send = 5  # after getMyCommands, setMyCommands, deleteWebhook and getMe or so
    plan = Plan(
        3,
        (Says(0.5, "101", "w1"), Says(9.0, "102", "w2")),
        crashes=(Crash("web", 1, 0.05),),
        strikes=tuple(Strike(call, "drop_after") for call in range(send, send + 8)),
    )
    found = simulate(plan).violations
    assert [violation.rule for violation in found if "duplicate" in violation.rule]
    duplicate = next(str(violation) for violation in found if "duplicate" in violation.rule)
    small = shrunk(Failure(3, (duplicate,), plan)).plan
    assert not small.crashes
    assert len(small.strikes) < len(plan.strikes)
