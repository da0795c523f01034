"""The text of a status message is a pure function of the turn and the time."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost_channels.message import Address
from roost_channels.outbox import ProgressSnapshot, StatusMessage
from roost_channels.progress.status_view import (
    PLAN_LINES_MAX,
    STREAM_CHARS_MAX,
    TOOL_LINES_MAX,
    closing_line,
    elapsed_words,
    stream_text,
    view,
)

ADDRESS = Address("telegram", "42", "7")


@given(st.floats(0, 10_000), st.sampled_from(["queued", "thinking", "tool", "answering"]))
def test_the_view_changes_at_most_every_ten_seconds(elapsed: float, phase: str) -> None:
    snapshot = ProgressSnapshot("t", "c", ADDRESS, 1, phase, "", ("a",), None, "", 0.0, 0.0, 1)
    moments = [view(snapshot, elapsed + step) for step in (0, 3, 6, 9.9)]
    assert len({m.text for m in moments if m}) <= 2


def test_a_turn_that_is_over_has_no_view_and_tools_are_few_and_short() -> None:
    snapshot = ProgressSnapshot("t", "c", ADDRESS, 1, "done", "", (), None, "", 0.0, 0.0, 1)
    assert view(snapshot, 5.0) is None
    tools = tuple(f"tool {n} " + "x" * 300 for n in range(20))
    shown = view(replace(snapshot, phase="tool", tools=tools), 75.0)
    assert shown is not None
    lines = shown.text.split("\n")
    assert lines[0] == "Working… (1 min)" and lines[1] == "… 14 earlier"
    assert len(lines) == 2 + TOOL_LINES_MAX and all(len(line) <= 120 for line in lines)


def test_the_plan_stands_between_the_headline_and_the_tools() -> None:
    snapshot = ProgressSnapshot("t", "c", ADDRESS, 1, "tool", "", ("Search",), None, "", 0, 0, 1)
    planned = replace(snapshot, plan=("✓ look", "▸ read", "· write"))
    shown = view(planned, 2.0)
    assert shown is not None
    assert shown.text == "Working…\n✓ look\n▸ read\n· write\nSearch"
    long = replace(snapshot, plan=tuple(f"· {n}" for n in range(PLAN_LINES_MAX + 5)))
    shown = view(long, 2.0)
    assert shown is not None and "… 5 earlier" in shown.text


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        ("done", "Done in 42 s."),
        ("stopped", "Stopped after 42 s."),
        ("failed", "Failed after 42 s."),
    ],
)
def test_a_closed_status_says_how_the_turn_ended(outcome: str, line: str) -> None:
    status = StatusMessage("t", ADDRESS, "1", "", "open", 0.0, outcome=outcome, elapsed_s=42.0)
    assert closing_line(status) == line


@given(st.text(max_size=9000))
def test_a_stream_shows_the_end_of_a_long_text(text: str) -> None:
    snapshot = ProgressSnapshot("t", "c", ADDRESS, 1, "answering", text, (), None, "", 0, 0, 1)
    shown = stream_text(snapshot)
    assert len(shown) <= STREAM_CHARS_MAX + 1 and text.endswith(shown.removeprefix("…"))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3, ""),
        (10, "(10 s)"),
        (59, "(50 s)"),
        (60, "(1 min)"),
        (95, "(1 min 30 s)"),
        (400, "(6 min)"),
    ],
)
def test_time_is_told_coarsely(seconds: float, words: str) -> None:
    assert elapsed_words(seconds) == words
