"""The rules about what waited see what they are there to see."""

from typing import Any

import pytest

from roost_platform.chaos.answers import DOES, Question, wanted
from roost_platform.chaos.invariants import check
from roost_platform.chaos.record import Record, Shown
from roost_platform.chaos.waits.facts import Acted, Handed, Reminded, Verdict, Waits


def paid(**change: Any) -> Acted:
    facts = {"state": "ok", "turn": "done", "verdicts": ("approved",), "runs": 1}
    card = {"approved": ('{"mark": "xw1"}',), "marks": ("xw1",)}
    return Acted(key="t:1:c", tool="pay", **{**facts, **card, **change})


def decided(**change: Any) -> Verdict:
    facts = {"chat": "-1001", "state": "approved", "rule": "requester", "requester": "p7"}
    return Verdict(**{**facts, "person": "p7", "name": "Ada", **change})


def task(**change: Any) -> Handed:
    facts = {"state": "done", "parent": "done", "is_waited": True, "is_told": True, "brought": 0}
    return Handed(id="child", **{**facts, **change})


def good() -> Record:
    return Record(
        shown=[Shown("7", "1", 1, "⏰ xw1")],
        waits=Waits(
            [paid(), paid(runs=0, state="error", verdicts=("denied",), approved=(), marks=())],
            [decided(), decided(rule="another", person="p8", name="Bo")],
            [task(), task(is_waited=False, is_told=False, brought=1)],
            [Reminded("7", "xw1", 1, "done", is_single=True)],
        ),
    )


def test_a_run_in_which_all_waits_ended_well_breaks_no_rule() -> None:
    assert check(good()) == []


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"acted": [paid(runs=2)]}, "ran twice"),
        ({"acted": [paid(verdicts=())]}, "ran without one approval"),
        ({"acted": [paid(verdicts=("denied",))]}, "ran without one approval"),
        ({"acted": [paid(state="error")]}, "ran and is told otherwise"),
        ({"acted": [paid(runs=0)]}, "did not run and is told otherwise"),
        ({"acted": [paid(runs=0, state="skipped")]}, "approved and never ran"),
        ({"acted": [paid(marks=("xw1-edited",))]}, "ran other arguments"),
        ({"acted": [paid(approved=())]}, "ran other arguments"),
        ({"verdicts": [decided(name="Eve", person="p9")]}, "a stranger decided"),
        ({"verdicts": [decided(name="Bo", person="p8")]}, "another person decided"),
        ({"verdicts": [decided(name="Ada", person="")]}, "another person decided"),
        ({"handed": [task(is_told=False)]}, "lost result"),
        ({"handed": [task(brought=1)]}, "result twice"),
        ({"handed": [task(is_waited=False, brought=2)]}, "lost result"),
        ({"handed": [task(is_waited=False, brought=0)]}, "lost result"),
        ({"reminded": [Reminded("7", "xw1", 2, "active", is_single=False)]}, "occurrence"),
        ({"reminded": [Reminded("7", "xw1", 0, "active", is_single=False)]}, "occurrence"),
        ({"live_cards": [("7", "4")]}, "live card"),
        ({"wrong": ["a turn is parked for nothing"]}, "waits"),
    ],
)
def test_each_rule_names_what_breaks_it(change: dict[str, Any], rule: str) -> None:
    record = good()
    for name, value in change.items():
        setattr(record.waits, name, value)
    found = {violation.rule for violation in check(record)}
    assert rule in found and found <= {rule, "approved and never ran"}


def test_a_stopped_turn_owes_no_run_and_an_unheard_card_may_stay() -> None:
    record = good()
    record.waits.acted = [paid(runs=0, state="skipped", turn="stopped")]
    record.waits.handed = [task(state="stopped", parent="stopped", is_told=False)]
    record.waits.live_cards, record.unknowable = [("7", "4")], {("7", "4")}
    assert check(record) == []


@pytest.mark.parametrize("does", DOES)
def test_what_a_message_wants_is_called_once(does: str) -> None:
    text = str(Question("w3", 0.0, 0, does))
    calls = wanted([text], "")
    assert calls
    assert wanted([text], " ".join(call.json for call in calls)) == []
