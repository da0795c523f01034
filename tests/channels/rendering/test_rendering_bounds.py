"""Texts made to be slow: time grows with the length, and what takes too long is shown plain."""

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost_channels.capabilities import Capabilities
from roost_channels.delivery import parts as planning
from roost_channels.message import Address, ReplyTarget
from roost_channels.outbox import ProgressSnapshot
from roost_channels.progress.status_view import view
from roost_channels.rendering.layout import GROWTH_MAX, clean, is_blank
from roost_channels.rendering.marks import WORD_JOINER
from roost_channels.rendering.markup import closed
from roost_channels.rendering.parts import RenderedPart, render
from roost_channels.rendering.quote_line import quote_prefix
from roost_channels.telegram.channel import CAPABILITIES as TELEGRAM
from roost_channels.telegram.format import checked_quote
from roost_channels.whatsapp.channel import CAPABILITIES as WHATSAPP
from roost_platform.testing.growth import grows_in_proportion

PLAIN = replace(TELEGRAM, markup="plain")
ENDLESS_S = 60.0  # a budget that no text of these tests spends: the growth is the code's own
NAMES = ["telegram", "whatsapp", "plain"]
SNAPSHOT = ProgressSnapshot(
    turn_id="t",
    conversation_id="c",
    address=Address("telegram", "1", "2"),
    generation=1,
    phase="thinking",
    text="",
    tools=(),
    reply_to=None,
    inbound_message_id="",
    started_at=0.0,
    updated_at=0.0,
    version=1,
)
UNITS = (
    *("# a\n", "> ", "- ", "1. ", "- a\n", "> a\n", "\n", "a\n\n", "a  \n", " ", "\\", "\\\n", "&"),
    *("*", "_", "~", "|", "[", "(", "<", "`", ">", "#", "-", "1", "!", "]", "&amp;", "***\n"),
    *("*a", "*a ", "a* ", "*a* ", "**a** ", "_a ", "~~a~~ ", "`a", "`a` ", "``a`", "*a **b "),
    *("[a](", "[a](b ", "[a](<b", "[a](b) ", '[a](b "', "[[a](", "![", "![a](b) ", "[a]: b\n"),
    *("<a", "<http://a>", "<!--", "```\n", "~~~\n", "```\na\n```\n", "    a\n", "a\n===\n"),
    *(
        "|a|b|\n",
        "|a|\n|-|\n|b|\n\n",
        "e\u0301",
        "\u0301",
        "\u200d",
        "👨\u200d",
        "🇩",
        "漢",
        "x" * 99,
    ),
    *("$$\n", "$$\na\n", "\\[\n", "\\[a\n", "\\(", "\\[\\\\", "$a^", "$a^b$ ", "$$ "),
    *("> - ", "- > ", "> # a\n", "**a `b` ", "> ```\n> a\n> ```\n", "*a*b ", "\t", " " * 250 + "a"),
)


def repeated(unit: str) -> Callable[[int], str]:
    return lambda length: (unit * (length // len(unit) + 1))[:length]


SHAPES: dict[str, Callable[[int], str]] = {
    **{unit[:12]: repeated(unit) for unit in UNITS},
    "wide table": lambda n: (
        "|" + "a|" * (n // 6) + "\n|" + "-|" * (n // 6) + "\n" + "|b\n" * (n // 9)
    ),
    "long header": lambda n: "|" + "h" * (n // 2) + "|b|\n|-|-|\n" + "|c|d|\n" * (n // 12),
    "nested lists": lambda n: "".join("  " * (i % 20) + "- a\n" for i in range(n // 24)),
    "deep quotes": lambda n: ("> " * 30 + "a\n") * (n // 62),
    "brackets": lambda n: "[" * (n // 2) + "]" * (n // 2),
    "nested styles": lambda n: "*a " * (n // 6) + "b* " * (n // 6),
    "nested images": lambda n: "![" * (n // 6) + "](a)" * (n // 6),
    "one code block": lambda n: "```\n" + "x = 1\n" * (n // 6),
    "bold lines": lambda n: "**" + "a\n" * (n // 2) + "**",
}
# The library is quadratic here: lazy lines under deep quotes. The budget holds it.
SLOW = "> " * 30 + "a\n" + "a\n" * 20_000


def grows_with_the_length(work: Callable[[str], object], shape: Callable[[int], str]) -> bool:
    length = 3_000  # more than a part on WhatsApp: a text of one part is not cut at all
    return grows_in_proportion(lambda size: partial(work, shape(size)), length)


@pytest.mark.parametrize("target", [TELEGRAM, WHATSAPP, PLAIN], ids=NAMES)
def test_rendering_time_grows_with_the_length(target: Capabilities) -> None:
    def work(text: str) -> object:
        return render(text, target, budget_s=ENDLESS_S)

    slow = [name for name, shape in SHAPES.items() if not grows_with_the_length(work, shape)]
    assert slow == []


@pytest.mark.parametrize(
    "work",
    [
        lambda text: render(text, WHATSAPP, plain=True),
        lambda text: render(text, TELEGRAM, plain=True),
        clean,
        is_blank,
        closed,
        lambda text: quote_prefix(text, text),
        lambda text: checked_quote(ReplyTarget("1", quote=text[:2] or "a", excerpt=text)),
        lambda text: view(replace(SNAPSHOT, tools=(text,), plan=(text,)), 1.0),
    ],
    ids=["whatsapp", "telegram", "clean", "blank", "closed", "prefix", "quote", "status"],
)
def test_what_walks_a_text_grows_with_it(work: Callable[[str], object]) -> None:
    slow = [name for name, shape in SHAPES.items() if not grows_with_the_length(work, shape)]
    assert slow == []


@pytest.mark.parametrize("target", [TELEGRAM, WHATSAPP, PLAIN], ids=NAMES)
def test_a_text_beyond_the_budget_is_shown_plain_and_complete(target: Capabilities) -> None:
    parts = render(SLOW, target)
    assert words_of(parts) == SLOW.strip()
    assert not any(part.entities for part in parts)


def words_of(parts: list[RenderedPart]) -> str:
    return "".join(part.text for part in parts).replace(WORD_JOINER, "")


@given(
    st.lists(st.sampled_from([*UNITS, "word ", "\n\n"]), min_size=1, max_size=60).map("".join),
    st.sampled_from([0.0, 0.001, ENDLESS_S]),
)
@settings(max_examples=80, deadline=None)
def test_parts_are_the_text_whether_or_not_the_budget_is_spent(text: str, budget_s: float) -> None:
    for target in (
        TELEGRAM,
        PLAIN,
        replace(TELEGRAM, text_max=100),
        replace(WHATSAPP, text_max=100),
    ):
        parts = render(text, target, budget_s=budget_s)
        position = 0
        for part in parts:
            assert part.char_start == position < part.char_end
            position = part.char_end
        whole = render(text, replace(target, text_max=1_000_000), budget_s=budget_s)
        if target.markup == "marks" or budget_s == 0.001:
            continue  # marks stand in the parts; and which way a short budget goes is by chance
        assert "".join(part.text for part in parts) == "".join(part.text for part in whole)
    spent = render(text, WHATSAPP, budget_s=0.0)
    marks = re.compile(f"[{WORD_JOINER}]")
    source = clean(text).strip()
    expected = "" if is_blank(source) else source
    assert marks.sub("", "".join(part.text for part in spent)) == expected


def test_a_table_does_not_become_far_more_than_its_source() -> None:
    source = "|" + "h" * 9_000 + "|b|\n|-|-|\n" + "|c|d|\n" * 1_000
    text = "".join(part.text for part in render(source, TELEGRAM))
    assert len(text) <= 2 * len(source) + GROWTH_MAX
    assert text == source.strip()


async def test_a_long_text_is_planned_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    def noted(*_: object) -> list[RenderedPart]:
        threads.append(threading.current_thread().name)
        return []

    monkeypatch.setattr(planning, "plan", noted)
    for length in (planning.PLANNED_AT_ONCE_MAX, planning.PLANNED_AT_ONCE_MAX + 1):
        await planning.planned(SimpleNamespace(text="a" * length), SimpleNamespace())  # type: ignore[arg-type]
    main = threading.main_thread().name
    assert threads[0] == main and threads[1] != main
