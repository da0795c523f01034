"""The invariants see what they are there to see."""

from dataclasses import replace
from typing import Any

import pytest

from roost_channels.rendering.parts import REPEAT_LABEL
from roost_platform.chaos.invariants import check
from roost_platform.chaos.record import AcceptedMessage, Final, Record, Removed, Shown, StatusEdit
from roost_platform.chaos.transcripts import faults_of
from roost_platform.db.enqueue import CUT_NOTICE


def said(place: int, text: str, *, is_status: bool = False) -> Shown:
    return Shown("7", str(place), place, text, is_status)


def good() -> Record:
    return Record(
        accepted=[AcceptedMessage("7", "w1", 1, fill=2), AcceptedMessage("7", "w2", 2)],
        sent=[AcceptedMessage("7", "w1", 0)],
        shown=[
            said(1, "Answer to w1. w1.1"),
            said(2, f"{REPEAT_LABEL}w1.1 w1.2"),
            said(3, "> w1\nAnswer to w2."),
        ],
        status_edits=[StatusEdit("7", "t1", 5.0)],
        finals=[Final("7", "t1", 6.0)],
        transcripts={"s": [{"role": "user", "content": "w1"}]},
    )


def rules(record: Record) -> list[str]:
    return [violation.rule for violation in check(record)]


def test_a_run_in_which_all_is_well_breaks_no_rule() -> None:
    assert check(good()) == []


def test_a_word_that_a_stop_cuts_is_not_a_copy_of_another() -> None:
    record = good()
    cut = [said(1, "Answer to w1. w1.1 w1.2"), said(2, "w1.3 w1.1\n\nStopped after 3 s.")]
    record.shown = [*cut, said(3, "w2")]
    assert check(record) == []
    record.shown = [cut[0], said(2, "w1.3 w1.1"), said(3, "w2")]
    assert "unlabelled duplicate" in rules(record)


def test_words_beyond_the_bound_of_a_message_are_no_loss_where_the_person_is_told() -> None:
    record = good()
    cut = replace(record.accepted[0], fill=13, cut=frozenset({"w1.11", "w1.12", "w1.13"}))
    record.accepted[0] = cut
    numbers = " ".join(f"w1.{number}" for number in range(1, 11))
    answer = f"Answer to w1. {numbers} w1.1"  # of w1.11
    record.shown = [said(1, answer + CUT_NOTICE), said(2, "w2")]
    assert check(record) == []
    record.shown[0] = said(1, answer.replace(" w1.5", "") + CUT_NOTICE)
    assert rules(record) == ["lost answer"]
    record.shown[0] = said(1, f"Answer to w1. {numbers}")
    assert rules(record) == ["lost answer"]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"shown": [said(1, "Answer to w1. w1.1 w1.2")]}, "lost answer"),
        ({"shown": [said(1, "w1 w1.1"), said(2, "w2")]}, "lost answer"),
        ({"sent": [AcceptedMessage("7", "w9", 0)]}, "lost inbound"),
        (
            {"shown": [said(1, "w1 w1.1 w1.2"), said(2, "w2"), said(3, "w2")]},
            "unlabelled duplicate",
        ),
        ({"shown": [said(1, "w2"), said(2, "w1 w1.1 w1.2")]}, "order"),
        ({"shown": [said(1, "w1 w1.2 w1.1"), said(2, "w2")]}, "order"),
        ({"shown": [said(1, "w1 w1.1"), said(2, "w2"), said(3, "w1.2")]}, "order"),
        ({"removed": [Removed("7", "4", "Answer to w1.")]}, "deleted answer"),
        ({"status_edits": [StatusEdit("7", "t1", 6.5)]}, "status after final"),
        ({"early": ["sendMessage"]}, "call inside retry_after"),
        ({"stuck": ["a turn runs"]}, "stuck"),
        ({"transcripts": {"s": [{"role": "assistant", "content": "hi"}]}}, "transcript"),
    ],
)
def test_each_rule_names_what_breaks_it(change: dict[str, Any], rule: str) -> None:
    record = good()
    for name, value in change.items():
        setattr(record, name, value)
    assert set(rules(record)) == {rule}


def test_a_status_may_stay_only_where_nobody_was_told_its_id() -> None:
    record = good()
    record.shown.append(said(9, "Thinking…", is_status=True))
    assert rules(record) == ["orphan status"]
    record.unknowable.add(("7", "9"))
    assert rules(record) == []


def test_what_was_stopped_need_not_be_answered_but_comes_once_and_in_order() -> None:
    record = good()
    record.accepted = [AcceptedMessage("7", "w1", 1, excused=True), AcceptedMessage("7", "w2", 2)]
    record.shown = [said(1, "Answer to w2.")]
    assert rules(record) == []


CALL = {"role": "assistant", "content": "", "tool_calls": [["c1", "clock", "{}"]]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "noon"}
USER = {"role": "user", "content": "when?"}
ANSWER = {"role": "assistant", "content": "noon"}


def test_a_transcript_with_answered_calls_is_valid() -> None:
    assert list(faults_of([USER, CALL, RESULT, ANSWER, USER])) == []


@pytest.mark.parametrize(
    "messages",
    [
        [USER, CALL],
        [USER, CALL, ANSWER],
        [USER, CALL, RESULT, RESULT],
        [USER, RESULT],
        [USER, CALL, USER, RESULT],
        [USER, CALL, RESULT, CALL, RESULT],
        [USER, {**CALL, "tool_calls": [["c1", "clock", "no json"]]}, RESULT],
        [USER, {**CALL, "tool_calls": [["c1", "", "{}"]]}, RESULT],
        [ANSWER],
        [USER, ANSWER, ANSWER],
        [{"role": "user", "content": ""}],
        [USER, {"role": "assistant", "content": ""}],
        [USER, {"role": "system", "content": "be nice"}],
    ],
)
def test_a_transcript_that_a_strict_server_refuses_is_named(messages: list[dict[str, Any]]) -> None:
    assert list(faults_of(messages))
