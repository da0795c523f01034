"""The document tree laid out as plain text with styled spans: what every renderer starts from."""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest

from markdown_it.common.normalize_url import normalizeLink

from roost_channels.rendering import markup
from roost_channels.rendering.budget import Budget

WHITESPACE_RUN_MAX = 256
TABLE_WIDTH_MAX = 100
# A table that is too wide repeats its headers in each row, and columns are filled with blanks. What
# is laid out may have twice the characters of its source and this many, so that a text of a few
# pages does not become hundreds of messages.
GROWTH_MAX = 20_000
# Looked for from the first blank of a run only: else each of its blanks starts a search.
_BLANKS = re.compile(rf"(?<!\s)\s{{{WHITESPACE_RUN_MAX},}}")
# No network shows control characters, and lone surrogates have no encoding.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
# Letters and marks by their category that show nothing.
_FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {
    chr(code) for code in range(0xFE00, 0xFE10)
}
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class StyledSpan:
    """A styled range [start, end) of code points, its type named as an Entity's."""

    type: str
    start: int
    end: int
    url: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """Text with its spans; `breaks` are the positions where a block starts: best places to cut."""

    text: str
    spans: tuple[StyledSpan, ...] = ()
    breaks: tuple[int, ...] = ()


def printable(text: str) -> str:
    """Text without what no network takes: control characters and halves of surrogate pairs."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _SURROGATE.sub("\ufffd", _UNPRINTABLE.sub("", text))


def clean(text: str) -> str:
    """Printable text without endless blanks, which could fill a part that then shows nothing."""
    return _BLANKS.sub(lambda run: run.group()[:WHITESPACE_RUN_MAX], printable(text))


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen: blanks, joiners, marks of direction, fillers."""
    return all(
        character.isspace()
        or character in _FILLERS
        or unicodedata.category(character) in ("Cc", "Cf", "Cs")
        for character in text
    )


def plain(text: str) -> Layout:
    """The text as it stands, without any reading of its markup."""
    return Layout(clean(text).strip())


class SpanIndex:
    """Spans by the range they touch. Those of one type never overlap: each is one bisection."""

    def __init__(self, spans: Sequence[StyledSpan]) -> None:
        self._spans = spans
        self._numbers: dict[str, list[int]] = {}
        for number, span in enumerate(spans):
            self._numbers.setdefault(span.type, []).append(number)
        self._starts = {t: [spans[n].start for n in ns] for t, ns in self._numbers.items()}
        self._ends = {t: [spans[n].end for n in ns] for t, ns in self._numbers.items()}

    def touching(self, start: int, end: int) -> list[StyledSpan]:
        """The spans that share a character with [start, end), in their own order."""
        numbered: list[int] = []
        for type_, numbers in self._numbers.items():
            low = bisect_right(self._ends[type_], start)
            numbered += numbers[low : bisect_left(self._starts[type_], end)]
        return [self._spans[number] for number in sorted(numbered)]

    def has(self, type_: str, position: int) -> bool:
        """Whether a span of that type covers the character at `position`."""
        starts = self._starts.get(type_, [])
        number = bisect_right(starts, position) - 1
        return number >= 0 and position < self._ends[type_][number]


def lay_out(
    blocks: tuple[markup.Block, ...],
    *,
    bullet: str,
    link_spans: bool,
    length_max: int,
    budget: Budget,
) -> Layout:
    """Lay the tree out. Without `link_spans` a link reads "text (url)".

    Raises MarkupError where the text becomes longer than `length_max`, and OverBudget.
    """
    writer = _Writer(bullet, link_spans, length_max, budget)
    writer.blocks(blocks)
    text = clean("".join(writer.pieces)).rstrip()
    if len(text) != len("".join(writer.pieces).rstrip()):
        raise markup.MarkupError("endless blanks inside markup")
    limit = len(text)
    spans = [
        StyledSpan(span.type, span.start, min(span.end, limit), span.url, span.language)
        for span in writer.spans
        if span.start < min(span.end, limit)
    ]
    # Code is inside of a style around the same words: within code, marks are characters.
    spans.sort(key=lambda span: (span.start, -span.end, span.type == "code"))
    return Layout(text, tuple(spans), tuple(sorted(set(writer.breaks))))


@dataclass(slots=True)
class _Writer:
    bullet: str
    link_spans: bool
    length_max: int
    budget: Budget
    pieces: list[str] = field(default_factory=list)
    spans: list[StyledSpan] = field(default_factory=list)
    breaks: list[int] = field(default_factory=list)
    length: int = 0
    open_styles: list[str] = field(default_factory=list)

    def write(self, text: str) -> None:
        text = printable(text)
        self.pieces.append(text)
        self.length += len(text)
        if self.length > self.length_max:
            raise markup.MarkupError("tables that grow too much")
        self.budget.step()

    @contextmanager
    def span(self, type_: str, *, url: str = "", language: str = "") -> Iterator[None]:
        """Mark what is written inside, unless the same style is open already."""
        if type_ in self.open_styles:
            yield
            return
        start = self.length
        self.open_styles.append(type_)
        yield
        self.open_styles.pop()
        if self.length > start:
            self.spans.append(StyledSpan(type_, start, self.length, url, language))

    def blocks(self, blocks: tuple[markup.Block, ...], *, gap: str = "\n\n") -> None:
        for index, block in enumerate(blocks):
            if index:
                self.write(gap)
            self.breaks.append(self.length)
            self.block(block)

    def block(self, block: markup.Block, indent: str = "") -> None:
        match block:
            case markup.Paragraph():
                self.inlines(block.children)
            case markup.Heading():
                with self.span("bold"):
                    self.inlines(block.children)
            case markup.CodeBlock():
                with self.span("pre", language=block.language):
                    self.write(block.text)
            case markup.QuoteBlock():
                with self.span("blockquote"):
                    self.blocks(block.blocks)
            case markup.ListBlock():
                self.list_items(block, indent)
            case markup.Table():
                self.table(block)
            case markup.Rule():
                self.write("———")

    def list_items(self, block: markup.ListBlock, indent: str) -> None:
        for number, item in enumerate(block.items):
            if number:
                self.write("\n")
                self.breaks.append(self.length)
            marker = self.bullet if block.start is None else f"{block.start + number}. "
            self.write(indent + marker)
            inner = indent + "  "
            for index, child in enumerate(item):
                if index:
                    self.write("\n")
                # Marks of quotes and of items work at the beginning of a line.
                if not isinstance(child, markup.ListBlock | markup.QuoteBlock):
                    self.write(inner if index else "")
                elif not index:
                    self.write("\n")
                self.block(child, inner)

    def table(self, table: markup.Table) -> None:
        """Aligned columns where they fit a screen, else one "header: value" line per cell."""
        rows = [[_cell_lines(cell) for cell in row] for row in table.rows]
        columns = max((len(row) for row in rows), default=0)
        rows = [row + [[""]] * (columns - len(row)) for row in rows]
        widths = [
            max(_width(line) for row in rows for line in row[column]) for column in range(columns)
        ]
        if sum(widths) <= TABLE_WIDTH_MAX:
            with self.span("pre"):
                self.write("\n".join(_aligned(rows, widths)))
            return
        for number, row in enumerate(rows[1:] or rows):
            self.write("\n\n" if number else "")
            values = ["\n".join(cell) for cell in row]
            heads = [" ".join(head) for head in rows[0]]
            cells = [f"{head}: {value}" for head, value in zip(heads, values, strict=True)]
            self.write("\n".join(cells if len(rows) > 1 else values))

    def inlines(self, children: tuple[markup.Inline, ...]) -> None:
        for child in children:
            self.inline(child)

    def inline(self, child: markup.Inline) -> None:
        match child:
            case markup.Text():
                self.write(child.text)
            case markup.Styled(style="code"):
                # As entities, code and links hold no other style: the outer one wins.
                if "text_link" in self.open_styles:
                    self.write(markup.plain(child.children))
                else:
                    with self.span("code"):
                        self.write(markup.plain(child.children))
            case markup.Styled():
                with self.span(child.style):
                    self.inlines(child.children)
            case markup.Link():
                self.link(child)

    def link(self, link: markup.Link) -> None:
        text = markup.plain(link.children)
        if not text or text == link.url:
            self.write(link.url)
        elif self.link_spans and link.url.startswith(("https://", "http://", "tg://")):
            with self.span("text_link", url=normalizeLink(link.url)):
                self.inlines(link.children)
        else:
            self.inlines(link.children)
            self.write(f" ({link.url})" if link.url else "")


def _width(text: str) -> int:
    """Columns a text takes in a monospaced font."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _cell_lines(cell: tuple[markup.Inline, ...]) -> list[str]:
    """The lines of a cell, each without needless blanks; at least one."""
    return [" ".join(line.split()) for line in markup.plain(cell).split("\n")]


def _aligned(rows: list[list[list[str]]], widths: list[int]) -> list[str]:
    """Lines of a table whose columns are filled with blanks, a rule under the header."""
    lines = []
    for number, row in enumerate(rows):
        if number == 1:
            lines.append("-+-".join("-" * width for width in widths))
        for cells in zip_longest(*row, fillvalue=""):
            filled = (
                cell + " " * (width - _width(cell))
                for cell, width in zip(cells, widths, strict=True)
            )
            lines.append(" | ".join(filled).rstrip())
    return lines
