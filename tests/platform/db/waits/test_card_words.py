"""The words of cards: arguments stand in every message as they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost_channels.rendering.markup import Paragraph, parse, plain
from roost_platform.db.cards.words import exact


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
