"""The words of cards: arguments stand in every message as they are."""

import json
import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost_channels.rendering.markup import Paragraph, parse, plain
from roost_platform.console.rendering import pretty_json
from roost_platform.db import models
from roost_platform.db.base.text import visible
from roost_platform.db.cards.words import clock, details_text, exact, moment, open_text
from roost_platform.db.waits.gate import preview
from roost_platform.views.workflows.decisions import _arguments
from roost_workflows.storage.waits import CallFacts


def shown(text: str) -> str:
    (block,) = parse(text)
    assert isinstance(block, Paragraph)
    return plain(block.children)


@pytest.mark.parametrize(
    "line",
    [
        "to: Bob <b>&",
        "path: `rm -rf *` | tee",
        "`a`",
        "a*b*c ~~d~~",
        "[click](https://bank.example) <https://evil.example>",
        "[[x]] ``` y",
        "to: Rome",
    ],
)
def test_arguments_within_a_sentence_are_read_as_they_are(line: str) -> None:
    assert shown(f"`wire`: {exact(line)}") == f"wire: {line}"


@given(st.text(alphabet="a b*`~[]<>|", min_size=1, max_size=40))
def test_no_mixture_of_marks_formats_anything(text: str) -> None:
    line = " ".join(text.split())
    if line:
        assert shown(f"`wire`: {exact(line)}.") == f"wire: {line}."


NOON = datetime(2026, 7, 1, 12, 0, tzinfo=UTC).timestamp()


def test_a_time_names_its_zone_where_it_is_not_the_persons_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert clock(NOON, ZoneInfo("Europe/Madrid")) == "14:00"
        assert clock(NOON, None) == "21:00 JST"
        assert moment(NOON, NOON - 60, None) == "21:00 JST"
        assert moment(NOON, NOON - 86_400, None) == "Wed 01 Jul, 21:00 JST"
        assert moment(NOON, NOON - 86_400, ZoneInfo("Europe/Madrid")) == "Wed 01 Jul, 14:00"
    finally:
        monkeypatch.undo()
        time.tzset()


HIDING = {
    "reordered": ("to \u202egnp.exe", "to \\u202egnp.exe"),
    "isolated": ("a\u2066b\u2069", "a\\u2066b\\u2069"),
    "blank between": ("pay\u200bpal.com", "pay\\u200bpal.com"),
    "joiner between": ("pay\u200dpal.com", "pay\\u200dpal.com"),
    "tags": ("ok\U000e0041", "ok\\U000e0041"),
    "filler": ("ok\u3164", "ok\\u3164"),
    "escape": ("ok\x1b[2Ka", "ok\\u001b[2Ka"),
}


@pytest.mark.parametrize("kind", HIDING)
def test_who_approves_sees_what_hides_or_reorders(kind: str) -> None:
    hidden, shown_as = HIDING[kind]
    arguments = json.dumps({"to": hidden, hidden: 1}, ensure_ascii=False)
    facts = CallFacts("a", "wire", "", "", arguments, "unsafe")
    asked = models.Approval(
        kind="approve",
        agent="a",
        tool="wire",
        arguments=arguments,
        preview=preview(facts),
        rule="requester",
        questions=[],
        answers=[],
    )
    cards = (open_text(asked, "", "14:00"), details_text(asked))
    pages = (pretty_json(arguments), *_arguments(arguments), *_arguments(arguments).values())
    for told in (*cards, *pages):
        assert hidden not in told
    assert all(shown_as in told for told in cards)
    assert shown_as in _arguments(arguments)["to"]


def test_ordinary_arguments_are_shown_as_they_are() -> None:
    line = (
        "Łódź, 漢字, \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645, 👨\u200d👩\u200d👧, ☎️ 5.00 €"
    )
    assert visible(line) == line
