"""Message text: entities in UTF-16 units, trimming, and the errors of the parse modes."""

from typing import Any

import pytest

from roost_channels.testing.telegram.errors import BotApiError
from roost_channels.testing.telegram.text.formatted import Formatted, normalize, read_formatted


def entity(kind: str, offset: int, length: int, **more: Any) -> dict[str, Any]:
    return {"type": kind, "offset": offset, "length": length, **more}


def read(text: str, mode: str = "", entities: Any = None) -> Formatted:
    return normalize(read_formatted(text, mode, entities))


def complaint(text: str, mode: str = "", entities: Any = None) -> str:
    with pytest.raises(BotApiError) as caught:
        read(text, mode, entities)
    return caught.value.description.removeprefix("Bad Request: ")


def test_an_entity_must_not_cut_a_surrogate_pair() -> None:
    assert complaint("a🐈b", entities=[entity("bold", 2, 2)]) == (
        "entity begins in a middle of a UTF-16 symbol at byte offset 5"
    )
    assert complaint("a🐈b", entities=[entity("bold", 0, 2)]) == (
        "entity beginning at UTF-16 offset 0 ends in a middle of a UTF-16 symbol at byte offset 5"
    )
    assert read("a🐈b", entities=[entity("bold", 1, 2)]).entities == [entity("bold", 1, 2)]


def test_an_entity_must_lie_within_the_text() -> None:
    assert complaint("abc", entities=[entity("bold", 3, 1)]) == (
        "entity begins after the end of the text at UTF-16 offset 3"
    )
    assert complaint("abc", entities=[entity("bold", 1, 3)]) == (
        "entity beginning at UTF-16 offset 1 ends after the end of the text at UTF-16 offset 4"
    )
    assert complaint("abc", entities=[entity("bold", -1, 3)]) == (
        "receive an entity with incorrect offset -1"
    )


def test_malformed_entities_are_named() -> None:
    prefix = "can't parse MessageEntity: "
    assert (
        complaint("abc", entities=[entity("loud", 0, 1)]) == prefix + "Unsupported type specified"
    )
    assert complaint("abc", entities=["x"]) == prefix + "expected an Object"
    assert complaint("abc", entities=[{"type": "bold", "offset": 0}]) == (
        prefix + 'Can\'t find field "length"'
    )
    assert complaint("abc", entities=[entity("text_link", 0, 1)]) == (
        prefix + 'Can\'t find field "url"'
    )


def test_text_is_trimmed_and_entities_follow() -> None:
    assert read("  \n hello \n\n").text == "hello"
    formatted = read("  bold and  ", entities=[entity("bold", 2, 10)])
    assert formatted == Formatted("bold and", [entity("bold", 0, 8)])
    # Leading blanks inside an entity stay.
    assert read("  x", entities=[entity("code", 0, 3)]).text == "  x"


def test_styles_are_cut_out_of_code_and_overlapping_links_go() -> None:
    formatted = read(
        "one two three",
        entities=[
            entity("bold", 0, 13),
            entity("code", 4, 3),
            entity("text_link", 6, 5, url="https://example.org"),
        ],
    )
    assert formatted.entities == [entity("bold", 0, 4), entity("code", 4, 3), entity("bold", 7, 6)]


@pytest.mark.parametrize(
    ("source", "text", "entities"),
    [
        ("<b>a<i>b</i></b>", "ab", [entity("bold", 0, 2), entity("italic", 1, 1)]),
        ("&lt;&#x1F408;&gt; <u>x</u>", "<🐈> x", [entity("underline", 5, 1)]),
        (
            '<pre><code class="language-py">x</code></pre>',
            "x",
            [entity("pre", 0, 1, language="py")],
        ),
        ('<code class="language-py">x</code>', "x", [entity("code", 0, 1)]),
        ('<a href="https://a.org?x=1&amp;y">l</a>', "l", None),
        ("<blockquote expandable>q</blockquote>", "q", [entity("expandable_blockquote", 0, 1)]),
        ('<span class="tg-spoiler">s</span>', "s", [entity("spoiler", 0, 1)]),
        ("&unknown; &amp", "&unknown; &", []),
    ],
)
def test_html_is_read(source: str, text: str, entities: list[dict[str, Any]] | None) -> None:
    wanted = (
        [entity("text_link", 0, 1, url="https://a.org?x=1&y")] if entities is None else entities
    )
    assert read(source, "HTML") == Formatted(text, wanted)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("é<h1>x</h1>", 'Unsupported start tag "h1" at byte offset 2'),
        ("<b", "Unclosed start tag at byte offset 0"),
        ("<b>x", 'Can\'t find end tag corresponding to start tag "b"'),
        ("<b>x</i>", 'Unmatched end tag at byte offset 4, expected "</b>", found "</i>"'),
        ("x</b>", "Unexpected end tag at byte offset 1"),
        ("<b>x</b", "Unclosed end tag at byte offset 4"),
        ("<span>x</span>", 'Tag "span" must have class "tg-spoiler" at byte offset 0'),
        ("<a =x>", 'Empty attribute name in the tag "a" at byte offset 0'),
    ],
)
def test_html_complaints(source: str, reason: str) -> None:
    assert complaint(source, "HTML") == f"can't parse entities: {reason}"


@pytest.mark.parametrize(
    ("source", "text", "entities"),
    [
        ("*a _b_*", "a b", [entity("bold", 0, 3), entity("italic", 2, 1)]),
        ("__u__ ~s~ ||p||", "u s p", None),
        ("```py\nx = 1\n```", "x = 1", [entity("pre", 0, 5, language="py")]),
        ("`a*b`", "a*b", [entity("code", 0, 3)]),
        ("[t](https://a.org/x\\))", "t", [entity("text_link", 0, 1, url="https://a.org/x)")]),
        ("1\\. x\\!", "1. x!", []),
        (">one\n>two\nrest", "one\ntwo\nrest", [entity("blockquote", 0, 8)]),
        (">one\n>two||", "one\ntwo", [entity("expandable_blockquote", 0, 7)]),
    ],
)
def test_markdown_v2_is_read(source: str, text: str, entities: list[dict[str, Any]] | None) -> None:
    wanted = (
        [entity("underline", 0, 1), entity("strikethrough", 2, 1), entity("spoiler", 4, 1)]
        if entities is None
        else entities
    )
    assert read(source, "MarkdownV2") == Formatted(text, wanted)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("done.", "Character '.' is reserved and must be escaped with the preceding '\\'"),
        ("a > b", "Character '>' is reserved and must be escaped with the preceding '\\'"),
        ("a | b", "Character '|' is reserved and must be escaped with the preceding '\\'"),
        ("é *bold", "Can't find end of Bold entity at byte offset 3"),
        ("```x", "Can't find end of Pre entity at byte offset 0"),
        ("[x](https://a.org", "Can't find end of a URL at byte offset 4"),
    ],
)
def test_markdown_v2_complaints(source: str, reason: str) -> None:
    assert complaint(source, "MarkdownV2") == f"can't parse entities: {reason}"


def test_the_old_markdown_is_read_and_complains() -> None:
    assert read("*b* [l](http://a.org)", "Markdown") == Formatted(
        "b l", [entity("bold", 0, 1), entity("text_link", 2, 1, url="http://a.org")]
    )
    assert complaint("é snake_case", "Markdown") == (
        "can't parse entities: Can't find end of the entity starting at byte offset 8"
    )
