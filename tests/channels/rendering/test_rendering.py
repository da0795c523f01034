"""What must hold for every text, however it is cut and marked."""

import re
from functools import partial

import pytest
import regex  # type: ignore[import-untyped]
from hypothesis import example, given, settings
from hypothesis import strategies as st

from roost_channels.capabilities import Capabilities
from roost_channels.rendering import parts as parts_of
from roost_channels.rendering.marks import WORD_JOINER
from roost_channels.rendering.markup import closed
from roost_channels.rendering.parts import (
    ENTITIES_MAX,
    REPEAT_LABEL,
    RenderedPart,
    labelled,
    plainer,
    utf16_length,
)
from roost_channels.telegram.channel import CAPABILITIES as TELEGRAM
from roost_channels.whatsapp.channel import CAPABILITIES as WHATSAPP

# A collection of garbage in a process full of tests may take longer than the budget of a text.
render = partial(parts_of.render, budget_s=60.0)


def capabilities(markup: str, text_max: int) -> Capabilities:
    return Capabilities(
        text_max=text_max,
        text_unit="utf16",
        markup=markup,  # type: ignore[arg-type]
        can_edit=True,
        can_delete=True,
        native_quote=True,
        buttons=True,
        typing_s=5.0,
        edit_interval_s=(1.5, 3.0),
        send_interval_s=1.0,
    )


words = st.sampled_from(
    [
        "word",
        "two words",
        "2*3*4",
        "élève",
        "👩‍👩‍👧 family",
        "🏳️‍🌈",
        "zal̷g̷o",
        "漢字です",
        "a_b_c",
        "e\u0301",
    ]
)
inline = st.one_of(
    words,
    words.map(lambda w: f"**{w}**"),
    words.map(lambda w: f"_{w}_"),
    words.map(lambda w: f"~~{w}~~"),
    words.map(lambda w: f"`{w}`"),
    words.map(lambda w: f"**bold `{w}` _both_**"),
    words.map(lambda w: f"[{w}](https://example.com/{len(w)})"),
    words.map(lambda w: f"![{w}](https://example.com/i.png)"),
    st.just("\\*literal\\*"),
    st.just("<b>html</b> &amp; more"),
)
line = st.lists(inline, min_size=1, max_size=6).map(" ".join)
block = st.one_of(
    line,
    line.map(lambda x: f"# {x}"),
    st.lists(line, min_size=1, max_size=4).map(lambda xs: "\n".join(f"- {x}" for x in xs)),
    st.lists(line, min_size=1, max_size=4).map(lambda xs: "\n".join(f"7. {x}" for x in xs)),
    st.lists(line, min_size=1, max_size=3).map(lambda xs: "\n".join(f"> {x}" for x in xs)),
    st.lists(words, min_size=1, max_size=9).map(lambda x: "```python\n" + "\n".join(x) + "\n```"),
    st.lists(words, min_size=1, max_size=3).map(lambda x: "| a | b |\n|---|---|\n| 1 | x |"),
    st.just("- a\n  - b\n    - c\n\n      deep"),
    st.just("> - quoted list\n> ```\n> quoted code\n> ```"),
    st.just("---"),
)
documents = st.lists(block, min_size=1, max_size=12).map("\n\n".join)
anything = st.one_of(documents, st.text(max_size=400))


def assert_tiles(parts: list[RenderedPart]) -> None:
    position = 0
    for part in parts:
        assert part.char_start == position < part.char_end
        position = part.char_end


def graphemes_end_at(text: str) -> set[int]:
    return {match.end() for match in regex.finditer(r"\X", text)}


@given(anything, st.integers(64, 400))
@settings(max_examples=80, deadline=None)
@example("```\n" + "x" * 500 + "\n```", 64)
@example("*" * 300, 64)
@example("👩‍👩‍👧" * 100, 70)
def test_entity_parts_concatenate_to_the_text_and_fit(markdown: str, text_max: int) -> None:
    limits = capabilities("entities", text_max)
    parts = render(markdown, limits)
    whole = render(markdown, capabilities("entities", 1_000_000))
    text = "".join(part.text for part in parts)
    assert text == "".join(part.text for part in whole)
    assert_tiles(parts)
    ends = graphemes_end_at(text)
    for part in parts:
        assert part.text == text[part.char_start : part.char_end]
        assert utf16_length(labelled(part).text) <= text_max
        part.text.encode("utf-8")  # no half of a surrogate pair
        longest = max(len(match.group()) for match in regex.finditer(r"\X", text))
        if longest < text_max // 4:
            assert part.char_end in ends


@given(anything, st.integers(64, 400))
@settings(max_examples=80, deadline=None)
def test_entities_are_valid_for_the_bot_api(markdown: str, text_max: int) -> None:
    for part in render(markdown, capabilities("entities", text_max)):
        assert_entities_are_valid(part)
        assert_entities_are_valid(labelled(part))


def assert_entities_are_valid(part: RenderedPart) -> None:
    units = part.text.encode("utf-16-le")
    taken: list[tuple[int, int]] = []
    for entity in part.entities:
        start, end = entity.offset, entity.offset + entity.length
        assert 0 <= start < end <= len(units) // 2
        # Cut by units, the passage is whole characters, and ends in none that the network trims.
        passage = units[2 * start : 2 * end].decode("utf-16-le")
        assert not passage[-1].isspace()
        assert entity.type in (
            "bold",
            "italic",
            "strikethrough",
            "code",
            "pre",
            "text_link",
            "blockquote",
        )
        assert bool(entity.url) == (entity.type == "text_link")
        taken.append((start, end))
    for i, (a, b) in enumerate(taken):
        for c, d in taken[i + 1 :]:
            assert d <= a or b <= c or (a <= c and d <= b) or (c <= a and b <= d)
    codes = [e for e in part.entities if e.type in ("code", "pre")]
    for code in codes:
        inside = [
            e
            for e in part.entities
            if e is not code
            and e.type != "blockquote"
            and e.offset < code.offset + code.length
            and code.offset < e.offset + e.length
        ]
        assert not inside


@given(anything, st.integers(96, 400))
@settings(max_examples=80, deadline=None)
@example("*a*" * 200, 96)
@example("> " + "**q** " * 200, 96)
def test_whatsapp_parts_fit_and_close_what_they_open(markdown: str, text_max: int) -> None:
    limits = capabilities("marks", text_max)
    parts = render(markdown, limits)
    assert_tiles(parts)
    for part in parts:
        assert utf16_length(labelled(part).text) <= text_max
        assert part.text.count("```") % 2 == 0


@given(documents, st.integers(96, 400))
@settings(max_examples=60, deadline=None)
def test_whatsapp_ranges_are_the_words_of_their_part(markdown: str, text_max: int) -> None:
    """Without marks, the parts' texts are the slices that their ranges name."""

    def bare(text: str) -> str:
        return re.sub(rf"[*_~`>\s{WORD_JOINER}]", "", text)

    limits = capabilities("marks", text_max)
    whole = render(markdown, capabilities("marks", 1_000_000))
    parts = render(markdown, limits)
    assert "".join(bare(p.text) for p in parts) == bare("".join(p.text for p in whole))
    assert parts[-1].char_end == whole[-1].char_end


@given(anything)
@settings(max_examples=60, deadline=None)
def test_no_word_is_lost_whatever_the_markup(markdown: str) -> None:
    """Every letter of a word that the source has is in each rendering."""
    for target in ("entities", "marks", "plain"):
        text = "".join(part.text for part in render(markdown, capabilities(target, 1_000_000)))
        for word in re.findall(r"\b(?:word|family|literal|html|deep|both|quoted)\b", markdown):
            assert word in text


@pytest.mark.parametrize("target", [TELEGRAM, WHATSAPP])
def test_nine_thousand_characters_arrive_complete_and_in_order(target: Capabilities) -> None:
    sections = [
        f"## Section {n}\n\n**Point {n}** is _important_: " + f"lorem{n} ipsum " * 27 + "\n\n"
        f"```python\nvalue_{n} = {n}\n```\n\n- item {n}.1\n- item {n}.2\n"
        for n in range(20)
    ]
    markdown = "\n".join(sections)
    assert len(markdown) > 9000
    parts = render(markdown, target)
    assert 3 <= len(parts) <= 8
    text = "".join(part.text for part in parts)
    end = "\n" if target is TELEGRAM else "*"
    places = [text.index(f"Section {n}{end}") for n in range(20)]
    assert places == sorted(places)
    assert text.count("ipsum") == 20 * 27
    assert all(f"value_{n} = {n}" in text for n in range(20))


def test_parts_break_at_blocks_before_lines_before_words() -> None:
    limits = capabilities("entities", 140)
    paragraph = "words and more words here. " * 3
    parts = render(f"{paragraph}\n\n{paragraph}\n\n{paragraph}", limits)
    assert [part.text.strip() for part in parts] == [paragraph.strip()] * 3
    lines = render("```\n" + "\n".join("x" * 30 for _ in range(10)) + "\n```", limits)
    assert all(part.text.endswith("\n") for part in lines[:-1])
    sentence = render("abcdef " * 60, limits)
    assert all(part.text.endswith(" ") for part in sentence[:-1])


def test_code_stays_code_in_every_part() -> None:
    code = "\n".join(f"line_{n} = {n}" for n in range(60))
    for part in render(f"```python\n{code}\n```", capabilities("entities", 200)):
        assert [(e.type, e.language) for e in part.entities] == [("pre", "python")]
    for part in render(f"```python\n{code}\n```", capabilities("marks", 200)):
        assert part.text.startswith("```") and part.text.rstrip().endswith("```")


def test_no_part_has_more_entities_than_telegram_keeps() -> None:
    words = [f"word{number}" for number in range(300)]
    parts = render(" ".join(f"**{word}**" for word in words), TELEGRAM)
    assert "".join(part.text for part in parts).split() == words
    assert sum(len(part.entities) for part in parts) == len(words)
    assert max(len(part.entities) for part in parts) == ENTITIES_MAX
    assert len(parts) == 3


def test_telegram_gets_entities_and_never_markup() -> None:
    part = render("**bold** [site](https://a.b/c) `x` 😀 _i_\n\n> said", TELEGRAM)[0]
    assert part.text == "bold site x 😀 i\n\nsaid"
    shown = [
        (
            e.type,
            part.text.encode("utf-16-le")[2 * e.offset : 2 * (e.offset + e.length)].decode(
                "utf-16-le"
            ),
        )
        for e in part.entities
    ]
    assert shown == [
        ("bold", "bold"),
        ("text_link", "site"),
        ("code", "x"),
        ("italic", "i"),
        ("blockquote", "said"),
    ]


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("# Title", "*Title*"),
        ("**b** _i_ ~~s~~ `c`", "*b* _i_ ~s~ `c`"),
        ("[site](https://a.b/c)", "site (https://a.b/c)"),
        ("<https://a.b/c>", "https://a.b/c"),
        ("![cat](https://a.b/c.png)", "cat (https://a.b/c.png)"),
        ("2*3*4 and a*b*c", "2*3*4 and a*b*c"),
        ("**two\nlines**", "*two*\n*lines*"),
        ("1. one\n2. two\n   - in", "1. one\n2. two\n  - in"),
        ("> said\n> twice", "> said\n> twice"),
        ("\\*not bold\\*", f"*{WORD_JOINER}not bold*"),
        ("in**side**word", "insideword"),
        ("2**3**4", "2**3**4"),
        ("```py\nx = 1\n```", "```x = 1```"),
        ("| a | bb |\n|---|---|\n| 1 | 2 |", "```a | bb\n--+---\n1 | 2```"),
        ("line one\nline two", "line one\nline two"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("[1]: https://a.b", "[1]: https://a.b"),
    ],
)
def test_whatsapp_text(markdown: str, text: str) -> None:
    assert [part.text for part in render(markdown, WHATSAPP)] == [text]


def test_what_cannot_be_read_is_shown_as_it_stands() -> None:
    deep = "> " * 60 + "bottom"
    parts = render(deep, TELEGRAM)
    assert "".join(part.text for part in parts) == deep
    assert not any(part.entities for part in parts)


def test_a_fault_of_the_parser_does_not_lose_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> None:
        raise AttributeError("a bug")

    monkeypatch.setattr("roost_channels.rendering.markup.parse", broken)
    assert [part.text for part in render("**still** here", TELEGRAM)] == ["**still** here"]


def test_blank_text_has_no_parts_and_control_characters_go() -> None:
    assert render(" \n\t ", TELEGRAM) == []
    assert render("a\x00b\x1bc\r\nd\ud800e", TELEGRAM)[0].text == "abc\nd\ufffde"


def test_wide_tables_become_lines_and_keep_every_cell() -> None:
    cell = "a long cell with many words in it that no phone shows in one row " * 2
    part = render(f"| name | text |\n|---|---|\n| x | {cell} |\n| y | short |", TELEGRAM)[0]
    assert "name: x" in part.text and "text: short" in part.text
    assert not part.entities


def test_room_is_kept_for_a_quote_line() -> None:
    text = "word " * 1000
    plain = render(text, WHATSAPP)
    reserved = render(text, WHATSAPP, reserve=200)
    assert utf16_length(reserved[0].text) <= 1600 - 200 - utf16_length(REPEAT_LABEL)
    assert "".join(p.text for p in plain) == "".join(p.text for p in reserved)


def test_a_repeat_is_labelled_once_and_its_entities_move() -> None:
    part = render("**bold**", TELEGRAM)[0]
    again = labelled(labelled(part))
    assert again.text == f"{REPEAT_LABEL}bold"
    assert again.entities[0].offset == len(REPEAT_LABEL)
    assert (again.char_start, again.char_end) == (part.char_start, part.char_end)
    assert plainer(part) == RenderedPart("bold", (), 0, 4)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("words", ""),
        ("```python\nprint(1)", "\n```"),
        ("```\na\n```", ""),
        ("````\n```\nstill code", "\n````"),
        ("~~~\na\n```", "\n~~~"),
        ("```a`b", ""),
        ("```\na\n``` not an end", "\n```"),
    ],
)
def test_what_follows_a_text_that_was_cut_off_is_no_code(text: str, end: str) -> None:
    assert closed(text) == text + end
    parts = render(f"{closed(text)}\n\nStopped.", TELEGRAM)
    [said] = [part.text for part in parts]
    code = [said[e.offset : e.offset + e.length] for e in parts[0].entities if e.type == "pre"]
    assert said.endswith("Stopped.") and not any("Stopped." in one for one in code)
