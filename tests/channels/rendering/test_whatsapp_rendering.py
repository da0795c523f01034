"""What the WhatsApp renderer promises for any Markdown: words, bounds, whole graphemes, marks."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest
import regex  # type: ignore[import-untyped]
from hypothesis import example, given, settings
from hypothesis import strategies as st

from roost_channels.message import Button, ReplyTarget
from roost_channels.rendering.marks import FENCE, WORD_JOINER
from roost_channels.rendering.parts import REPEAT_LABEL, labelled, render, utf16_length
from roost_channels.rendering.quote_line import (
    EXCERPT_MAX,
    QUOTE_PREFIX_MAX,
    SHORT_EXCERPT_MAX,
    needs_quote_line,
    quote_prefix,
)
from roost_channels.whatsapp.channel import BODY_MAX, CAPABILITIES, body_of
from roost_channels.whatsapp_cloud.channel import CAPABILITIES as CLOUD
from roost_channels.whatsapp_cloud.format import interactive

MARKS = "*_~`>"
WORDS = st.text(
    st.sampled_from("abc XYZ\n\n*_~`>#-1.[]()|é\u0301ß中😀👨‍👩‍👧🇩🇪\u200d\ufe0f\t"), max_size=400
)
PIECES = st.sampled_from(
    [
        "**bold words** and _slanted_ ones ",
        "~~gone~~ `code` ",
        "\n\n```\nprint('a * b')\n```\n\n",
        "\n\n~~~\nfence ``` in a fence\n~~~\n\n",
        r"\*not bold\* \_nor slanted\_ \`nor code\` ",
        "literal \\`\\`\\`marks\\`\\`\\` ",
        "> a quoted line\n> and another\n\n",
        "# Heading\n\n",
        "- item **one**\n- item two\n  - nested\n\n",
        "1. first\n2. second\n\n",
        "[a link](https://example.org/a_b_c) ",
        "| a | b |\n|---|---|\n| *1* | 2 |\n\n",
        "2*3*4 and snake_case_name ",
        "👨‍👩‍👧‍👦🇩🇪é\u0301 ",
        "word " * 60,
    ]
)
MARKDOWN = st.one_of(WORDS, st.lists(st.one_of(PIECES, WORDS), max_size=40).map("".join))


STYLED = re.compile(rf"(?<!\w)([*_~`])(?=[^\s{WORD_JOINER}])(.+?)(?<=\S)\1(?!\w)")


def seen(text: str) -> str:
    """What a phone shows, by WhatsApp's rules and without our renderer: marks become styles."""
    shown = []
    for number, piece in enumerate(text.split(FENCE)):
        if number % 2:
            shown.append(piece)
            continue
        lines = [line.removeprefix("> ") for line in piece.split("\n")]
        shown.append("\n".join(styled(line) for line in lines))
    return "".join(shown).replace(WORD_JOINER, "")


def styled(line: str) -> str:
    """Without the marks that WhatsApp takes for marks; code keeps what is in it."""
    found = STYLED.search(line)
    if found is None:
        return line
    inner = found[2] if found[1] == "`" else styled(found[2])
    return line[: found.start()] + inner + styled(line[found.end() :])


@settings(max_examples=100, deadline=None)
@given(st.lists(PIECES, max_size=40).map("".join))
@example("word " * 700)
def test_a_phone_shows_the_text_itself_whatever_its_marks(markdown: str) -> None:
    """So no word is lost, and every mark that opens closes in its part: else it would show."""
    parts = render(markdown, CAPABILITIES)
    plain = "".join(part.text for part in render(markdown, replace(CAPABILITIES, markup="plain")))
    assert "".join(seen(part.text) for part in parts) == plain


@settings(max_examples=80, deadline=None)
@given(MARKDOWN, st.sampled_from([CAPABILITIES, CLOUD]), st.booleans())
@example("👨‍👩‍👧" * 800, CAPABILITIES, True)
@example("*" * 4000, CAPABILITIES, False)
@example("```\n" + "x = 1\n" * 900 + "```", CAPABILITIES, True)
def test_parts_keep_the_limit_tile_the_text_and_cut_no_grapheme(
    markdown: str, capabilities: object, has_quote: bool
) -> None:
    wide = CLOUD if capabilities is CLOUD else CAPABILITIES
    parts = render(markdown, wide, reserve=QUOTE_PREFIX_MAX if has_quote else 0)
    position = 0
    for number, part in enumerate(parts):
        room = wide.text_max - (QUOTE_PREFIX_MAX if has_quote and number == 0 else 0)
        assert utf16_length(labelled(part).text) <= room
        assert utf16_length(part.text) + utf16_length(REPEAT_LABEL) <= room
        assert part.char_start == position and part.char_end > part.char_start
        assert not part.entities
        part.text.encode("utf-16-le")  # no half of a pair
        position = part.char_end
    plain = "".join(part.text for part in render(markdown, wide, plain=True))
    for left, right in pairwise(parts):
        # What was one grapheme in the source is not torn over two parts.
        seam = (left.text[-1:] + right.text[:1]).strip(MARKS + FENCE)
        if len(seam) == 2 and seam in plain:
            assert len(regex.findall(r"\X", seam)) == 2 or "\n" in seam


@settings(max_examples=80, deadline=None)
@given(MARKDOWN)
@example("```\n" + "code `x` ``` y\n" * 300 + "```")
def test_fences_open_and_close_in_every_part(markdown: str) -> None:
    for part in render(markdown, CAPABILITIES):
        assert part.text.count(FENCE) % 2 == 0


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300), st.text(max_size=2000), st.text(max_size=1700))
def test_the_quote_line_is_one_line_bounded_and_never_costs_the_answer(
    author: str, excerpt: str, text: str
) -> None:
    prefix = quote_prefix(author, excerpt)
    assert utf16_length(prefix) <= QUOTE_PREFIX_MAX
    assert prefix == "" or (prefix.startswith("> ") and prefix.endswith("\n\n"))
    assert len(prefix.removesuffix("\n\n").splitlines()) <= 1
    reply = ReplyTarget("SM1", author=author, excerpt=excerpt, is_latest=False)
    for part in render(text, CAPABILITIES, reserve=QUOTE_PREFIX_MAX)[:1]:
        body = body_of(part, reply)
        assert body == prefix + part.text and utf16_length(body) <= BODY_MAX


@pytest.mark.parametrize(
    ("is_latest", "quote", "is_needed"),
    [(True, "", False), (False, "", True), (True, "that passage", True)],
)
def test_the_quote_line_is_for_older_messages_and_for_quotes_asked_for(
    is_latest: bool, quote: str, is_needed: bool
) -> None:
    reply = ReplyTarget("SM1", quote=quote, excerpt="the whole message", is_latest=is_latest)
    assert needs_quote_line(reply) is is_needed
    [part] = render("the answer", CAPABILITIES)
    quoted = quote or "the whole message"
    assert body_of(part, reply) == (f"> {quoted}\n\nthe answer" if is_needed else "the answer")


@pytest.mark.parametrize("before", range(SHORT_EXCERPT_MAX - 8, EXCERPT_MAX))
def test_a_quote_line_and_the_title_of_a_choice_cut_no_emoji(before: int) -> None:
    family = "👨‍👩‍👧‍👦"
    line = quote_prefix("", "a" * before + family + "b" * EXCERPT_MAX)
    assert line.count("👨") == line.count(family)
    buttons = [Button("a" * (before % 24) + family * 9, str(n)) for n in range(4)]
    rows = interactive("Which?", buttons)["interactive"]["action"]["sections"][0]["rows"]
    for row in rows:
        assert row["title"].count("👨") == row["title"].count(family)
        assert row["description"].count("👨") == row["description"].count(family)


def test_no_mark_stands_inside_of_code() -> None:
    text = "**`a`** and *`b`* ~~`c`~~ ***`d`*** **e `f`** **`g` h**"
    (part,) = render(text, CAPABILITIES)
    assert part.text == "*`a`* and _`b`_ ~`c`~ *_`d`_* *e `f`* *`g` h*"


def test_no_backtick_of_a_code_block_is_read_as_part_of_its_fence() -> None:
    (part,) = render("~~~\n`a` and\nreturn `x`\n~~~", CAPABILITIES)
    assert part.text == f"{FENCE}{WORD_JOINER}`a` and\nreturn `x`{WORD_JOINER}{FENCE}"


def test_every_line_of_a_quote_in_a_list_has_its_mark() -> None:
    (part,) = render("- said\n  > one\n  > two\n- > three\n  > four", CAPABILITIES)
    assert part.text == "- said\n> one\n> two\n- \n> three\n> four"
