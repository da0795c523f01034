"""Addresses and identifiers reach people byte for byte, whatever marks they have inside."""
# ruff: noqa: RUF001

import gc
import re
from collections.abc import Iterator
from html import unescape

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from roost.messages import LocalMessage
from roost.prompt import build_messages
from roost_channels.rendering.marks import WORD_JOINER
from roost_channels.rendering.parts import render
from roost_channels.rendering.quote_line import quote_prefix
from roost_channels.telegram.channel import CAPABILITIES as TELEGRAM
from roost_channels.whatsapp.channel import CAPABILITIES as WHATSAPP
from roost_platform.console.bubbles import marks_html
from roost_platform.console.markdown import markdown

STYLED = re.compile(rf"(?<!\w)([*_~`])(?=[^\s{WORD_JOINER}])(.+?)(?<=\S)\1(?!\w)")


@pytest.fixture(autouse=True, scope="module")
def _no_garbage_of_others() -> Iterator[None]:
    """To look through what thousands of tests have left takes longer than a text may take."""
    gc.freeze()
    yield
    gc.unfreeze()


def on_telegram(text: str) -> str:
    return "".join(part.text for part in render(text, TELEGRAM))


def on_whatsapp(text: str) -> str:
    """What a phone shows of it: marks become styles, code keeps what is in it."""
    body = "".join(part.text for part in render(text, WHATSAPP))
    return "\n".join(_styled(line) for line in body.split("\n")).replace(WORD_JOINER, "")


def _styled(line: str) -> str:
    found = STYLED.search(line)
    if found is None:
        return line
    inner = found[2] if found[1] == "`" else _styled(found[2])
    return line[: found.start()] + inner + _styled(line[found.end() :])


def in_the_console(text: str) -> str:
    return unescape(re.sub(r"<[^>]*>", "", markdown.__wrapped__(text))).strip()


SHOWN = {"telegram": on_telegram, "whatsapp": on_whatsapp, "console": in_the_console}

EXACT = [
    "https://x.example/pkg/__init__.py",
    "https://x.example/_v1_/*a*/~~b~~?q=__x__&lt;=2&amp;y=_z_",
    "https://en.wikipedia.org/wiki/X_(_y_)",
    "https://пример.example/_а_/б",
    "www.x.example/_a_",
    "/_v1_/",
    "~/x~y",
    "~/.a_b_/~~c~~/d",
    "./_build_/*.py",
    "__init__",
    "__name__ == '__main__'",
    "self.__dict__._x_",
    'row["_id_"] or f(_x_)',
    "snake_case_name",
    "a*b*c and a**b",
    "a~~b~~c",
    "x || y |z|",
    r"\d+\.\d+",
    r"\_ and \w+\_\d*",
    r"C:\new\_x_\*.txt",
    r"\\server\share",
    r"a\*b\*c",
    "*args, **kwargs and x**2",
    "select a.*, b.* from c",
    "*.py, *.txt",
    "vector<std::string> and Map<K, V>",
    "use &lt; for <, AT&amp;T",
    "a_b_@x.example",
    "_x_.py and *x*.py",
    "list[i](j) and x[0](1)",
    "(*) one and (*) two",
    "C_{*} and D_{*}",
    "f(x^*) <= f(y^*)",
    r"$f^*(x) + g^*(y)$ and $x_1$, $x_2$",
    r"\(\mathcal{L}^*(a), \_b\_\) and \[ *a*, \\ _b_ \]",
    "$$ a * *b* $$",
]


@pytest.mark.parametrize("channel", SHOWN)
@pytest.mark.parametrize("text", EXACT)
def test_what_people_copy_is_shown_as_it_was_written(channel: str, text: str) -> None:
    assert SHOWN[channel](text) == text
    assert SHOWN[channel](f"See {text} now.") == f"See {text} now."


@pytest.mark.parametrize("channel", SHOWN)
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Write to <a@b.example>.", "Write to a@b.example."),
        ("<https://münchen.example/ü?q=ß>", "https://münchen.example/ü?q=ß"),
        ("<https://x.example/%C3%BC/_a_>", "https://x.example/%C3%BC/_a_"),
        ("[https://x.example/ü](https://x.example/ü)", "https://x.example/ü"),
        ("**「重要」**です", "「重要」です"),
        ("**注意：**次", "注意：次"),
        ("这是**“重要”**的", "这是“重要”的"),
        ('これは**"重要"**です', 'これは"重要"です'),
        ("*（注）*次", "（注）次"),
        ("~~「古い」~~新しい", "「古い」新しい"),
        ("**중요!**입니다", "중요!입니다"),
        ("**see https://x.example/a_b**, ok", "see https://x.example/a_b, ok"),
        ("**Yes**/**No**", "Yes/No"),
        ("**in**side and geh**st**", "inside and gehst"),
        (r"\*no style\* and \_none\_", "*no style* and _none_"),
        (r"1\. no list", "1. no list"),
        (r"\* no list", "* no list"),
        ("$5 **or** $6_000, $A_B **to** $C_D", "$5 or $6_000, $A_B to $C_D"),
        (r"\[no link\](https://x.example)", "[no link](https://x.example)"),
    ],
)
def test_marks_that_mean_a_style_are_not_shown(channel: str, text: str, shown: str) -> None:
    assert SHOWN[channel](text) == shown


@pytest.mark.parametrize("channel", SHOWN)
@pytest.mark.parametrize("ends", [("$$", "$$"), (r"\[", r"\]")])
def test_the_lines_of_a_formula_begin_no_list_quote_or_heading(
    channel: str, ends: tuple[str, str]
) -> None:
    for line in ("- b", "+ *b*", "> 0", "# n", "1. x", "=", "---", r"_a_ \\"):
        lines = "\n".join((ends[0], "a", line, ends[1]))
        assert SHOWN[channel](f"So\n{lines}\nholds.").split() == f"So {lines} holds.".split()


def test_a_formula_that_does_not_end_is_text_like_any_other() -> None:
    for opened in ("$$\n- *a*", "\\[\n- *a*\n\n\\]", "- $$\n  x\n\n*a*\n$$"):
        assert "*a*" not in on_telegram(opened)


def test_styles_of_east_asian_texts_begin_and_end_at_punctuation() -> None:
    (bold,) = render("**「重要」**です", TELEGRAM)[0].entities
    assert (bold.type, bold.offset, bold.length) == ("bold", 0, 4)
    (italic,) = render("*注意：*次", TELEGRAM)[0].entities
    assert (italic.type, italic.offset, italic.length) == ("italic", 0, 3)
    assert "<strong>注意：</strong>次" in markdown("**注意：**次")


def test_a_break_in_a_cell_is_a_line_break() -> None:
    table = "| a | b |\n|---|---|\n| x<br>yy | z<br/>w<BR />q |"
    assert on_telegram(table) == "a  | b\n---+--\nx  | z\nyy | w\n   | q"
    assert "<td>x<br>\nyy</td>" in markdown(table)
    wide = "a long cell with many words that no phone shows in one row " * 2
    assert "b: one\ntwo" in on_telegram(f"| a | b |\n|-|-|\n| {wide} | one <br> two |")
    assert on_telegram("no<br>cell") == "no<br>cell"


def test_a_row_with_more_bars_than_columns_keeps_every_word() -> None:
    head = "| a | b |\n|---|---|\n"
    assert on_telegram(f"{head}| 1 | `x|y` |").endswith("1 | x|y")
    assert on_telegram(f"{head}| `p || q` | or |").endswith("p || q | or")
    assert on_telegram(f"{head}| 1 | 2 | 3 | 4 |").endswith("1 | 2 | 3 | 4")
    assert on_telegram(f"{head}|||x").endswith("| | x")
    assert on_telegram(f"{head}| `1 | 2 | 3` |").endswith("`1 | 2 | 3`")
    assert on_telegram(f"{head}| 1 | 2 ||").endswith("1 | 2")
    assert on_telegram(f"> {head.replace(chr(10), chr(10) + '> ')}| 1 | `2|3` |").endswith(
        "1 | 2|3"
    )
    assert "<td><code>x|y</code></td>" in markdown(f"{head}| 1 | `x|y` |")


def test_an_address_with_marks_is_code_on_whatsapp_and_keeps_every_character() -> None:
    def body(text: str) -> str:
        return render(text, WHATSAPP)[0].text

    address = "https://x.example/_v1_/"
    assert body(f"See {address}.") == f"See `{address}`."
    assert body(f"**see** ({address})") == f"*see* (`{address}`)"
    assert body(f"见{address}，好") == f"见{WORD_JOINER}`{address}`，好"
    assert body("https://x.example/a_b/c*d") == "https://x.example/a_b/c*d"
    assert body("__init__ runs") == "`__init__` runs"


def test_a_quote_line_keeps_the_characters_of_an_address() -> None:
    assert quote_prefix("Ada", "see /_v1_/ and a_b") == "> Ada: see `/_v1_/` and a_b\n\n"
    assert quote_prefix("", "__init__") == "> `__init__`\n\n"
    assert quote_prefix("", "**so** it *is* `fine`") == "> so it is fine\n\n"


DELIMITER = st.sampled_from(["_", "__", "*", "~", "|", "~~", "**"])
LETTERS = st.text(st.sampled_from("abXY09"), min_size=1, max_size=4)
ADDRESS = st.builds(
    lambda scheme, parts, end: scheme + "".join(f"{mark}{word}" for mark, word in parts) + end,
    st.sampled_from(["https://x.example/", "http://10.0.0.1:8080/a/", "ftp://h.example/", "/srv/"]),
    st.lists(
        st.tuples(
            st.one_of(DELIMITER, st.sampled_from(["/", ".", "-", "?q=", "&", "(", "\\"])), LETTERS
        ),
        max_size=8,
    ),
    st.sampled_from(["", "/"]),
)
# Of letters and digits with single marks between; a word of letters may be bold in part.
IDENTIFIER = st.builds(
    lambda first, parts: first + "".join(f"{mark}{word}" for mark, word in parts),
    LETTERS,
    st.lists(st.tuples(st.sampled_from(["_", "__", "*", "~", "|", "~~"]), LETTERS), max_size=6),
)
DUNDER = LETTERS.map(lambda word: f"__{word}__")
# What stands around the words, and what a reader sees of it.
AROUND = st.sampled_from(
    [
        ("", "", "", ""),
        ("See ", " now", "See ", " now"),
        ("(", ")", "(", ")"),
        ("**bold** ", " _it_", "bold ", " it"),
        ("", ",", "", ","),
    ]
)


@pytest.mark.parametrize("channel", SHOWN)
@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.one_of(ADDRESS, IDENTIFIER, DUNDER), min_size=1, max_size=3), AROUND)
@example(["https://x.example/a__b__", "/srv/_a_/"], ("**bold** ", " _it_", "bold ", " it"))
def test_no_address_or_identifier_loses_or_gains_a_character(
    channel: str, words: list[str], around: tuple[str, str, str, str]
) -> None:
    before, after, shown_before, shown_after = around
    said = " and ".join(words)
    shown = SHOWN[channel](f"{before}{said}{after}")
    assert shown == f"{shown_before}{said}{shown_after}".strip()
    if channel == "whatsapp":
        body = "".join(part.text for part in render(said, WHATSAPP))
        assert all(word in body for word in words)


@pytest.mark.parametrize(
    "nested",
    [
        "> " * 1000 + "bottom",
        ">" * 5000 + "bottom",
        "- " * 1000 + "bottom",
        "1. " * 1000 + "bottom",
        "> - 1. " * 500 + "bottom",
        "[" * 1000 + "bottom" + "](x)" * 1000,
        "![" * 1000 + "bottom" + "](x)" * 1000,
        "*a **b " * 500 + "bottom" + " b** a*" * 500,
        "".join(f"{'  ' * depth}- a\n" for depth in range(300)) + "bottom",
    ],
    ids=lambda text: text[:6],
)
def test_deep_nesting_is_shown_and_breaks_nothing(nested: str) -> None:
    for shown in SHOWN.values():
        assert "bottom" in shown(nested)
    assert "bottom" in marks_html(nested)
    assert quote_prefix("Ada", nested).startswith("> Ada: ")
    said = LocalMessage("user", nested, quoted={"text": nested}, context=(("Bob", nested),))
    assert "bottom" in build_messages("Be.", [said])[1]["content"]
