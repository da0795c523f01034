"""Seeded schedules of faults and crashes over the real lanes, stores, intake and fakes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from roost_platform.chaos.sim.attacks import draw_attacks, plan_of
from roost_platform.chaos.sim.plan import (
    GROUP,
    Crash,
    Edit,
    Habits,
    Jump,
    Plan,
    Says,
    Strike,
    draw,
    draw_waits,
)
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

# Found by hunting: two couriers sent one status message each; a group's message came before the
# bot knew its own name; a job's result began a new session; a clock was set while a tool ran; two
# couriers settled one send in doubt; one sent again a card that the other was still sending; a
# clock that was set back kept the bot from asking for its name; a lost status was looked for late;
# an edit that was to become the answer was given up, as a clock had been set forward; a message
# came while the database was away at the first start, and a clock was set before it came back; the
# checker took a status for known whose sender died while the database was away or a clock ahead.
ATTACKS = (
    *(14, 3000014, 3000331, 3005031, 3005030),
    *(7000235, 7000351, 8000194, 9701453, 9701898, 10400119, 10532995, 10538019),
)

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


@pytest.mark.parametrize("seed", ATTACKS)
def test_a_seed_with_attacks_holds(seed: int) -> None:
    assert simulate(plan_of(seed)).violations == []


def test_every_fourth_seed_is_without_waits_and_half_of_them_attack() -> None:
    kinds = [plan_of(seed) for seed in range(1, 41)]
    assert any(GROUP in plan.chats for plan in kinds) and any(plan.edits for plan in kinds)
    assert {plan.couriers for plan in kinds} == {1, 2}
    assert any(jump.by_s < 0 for plan in kinds for jump in plan.jumps)
    assert any(plan.habits.strangers and plan.habits.stops for plan in kinds)


def with_flows(seed: int) -> Plan:
    return Plan(seed, tuple(Says(at, "101", f"w{at}", does="flow") for at in (1, 2, 3)))


@pytest.mark.parametrize("draw_plan", [draw, draw_attacks, with_flows])
def test_the_same_seed_gives_the_same_run(draw_plan: Callable[[int], Plan]) -> None:
    first, second = (simulate(draw_plan(9)) for _ in range(2))
    assert trace(first) == trace(second)


def test_a_clock_set_forward_ends_no_lease_of_a_send_that_another_courier_is_making() -> None:
    """The request takes 15 s, in which two minutes of lease pass by the clock alone."""
    says = (Says(1.0, "whatsapp:+4915550010001", "w1"), Says(25.0, "102", "w2"))
    for call in range(11, 15):
        strikes = (Strike(call, "delay", 15.0),)
        plan = Plan(5, says, strikes=strikes, jumps=(Jump(4.0, 300.0),), couriers=2)
        assert simulate(plan).violations == []


A_CARD = Habits(delay_s=20.0, strangers=1.0)


@pytest.mark.parametrize(
    ("broken", "change", "rule"),
    [
        ("roost_platform.db.inbox.replies.taking.may", {}, "another person decided"),
        (
            "roost_platform.db.waits.gate._is_same",
            {"edits": (Edit(3.0, "arguments"),)},
            "ran other arguments",
        ),
    ],
)
def test_a_rule_of_approvals_that_is_broken_on_purpose_is_seen(
    monkeypatch: pytest.MonkeyPatch, broken: str, change: dict[str, Any], rule: str
) -> None:
    says = (Says(0.5, GROUP, "w1", does="pay", by=7),)
    plan = replace(Plan(7, says, habits=A_CARD), **change)
    assert simulate(plan).violations == []
    monkeypatch.setattr(broken, lambda *_: True)
    assert rule in {violation.rule for violation in simulate(plan).violations}


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
