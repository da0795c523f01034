"""The words of cards: arguments stand in every message as they are."""

import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost_channels.rendering.markup import Paragraph, parse, plain
from roost_platform.db.cards.words import clock, exact, moment


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
