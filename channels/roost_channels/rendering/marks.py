"""Text with marks written around styled words: `*bold*`, `_italic_`, `~struck~`, code, `> quote`.

Marks close on the line they open on and stand at word boundaries, or networks
show them as characters. A style that can't stand there is dropped; its words stay.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import accumulate

from roost_channels.rendering.layout import Layout, SpanIndex, StyledSpan

MARKS = {"bold": "*", "italic": "_", "strikethrough": "~", "code": "`"}
FENCE = "```"
WORD_JOINER = "\u2060"

# Characters that would read as marks: of fences, and (in the group) at a word's start.
_ACCIDENTAL = re.compile(r"`(?=``)|(?<=`)`(?=`)|(?<=``)`|(?<![\w*_~`])([*_~`])(?=\S)")


class Serialiser:
    """Slices of a document with marks, every mark opened and closed in its slice.

    The document is divided once into pieces: lines and code blocks. The length of each whole piece
    is kept, so the length of a slice needs only the two pieces at its ends to be formatted again.
    """

    def __init__(self, document: Layout) -> None:
        self._text = document.text
        self._spans = SpanIndex(document.spans)
        self._marked = SpanIndex([span for span in document.spans if span.type in MARKS])
        self._starts: list[int] = []  # of pieces: lines with their ends, and code blocks
        self._fences: set[int] = set()  # numbers of the pieces that are code blocks
        self._divide([span for span in document.spans if span.type == "pre"])
        ends = [*self._starts[1:], len(self._text)]
        self._whole = [
            self._piece(number, start, end, is_first=False)
            for number, (start, end) in enumerate(zip(self._starts, ends, strict=True))
        ]
        self._weights = [0, *accumulate(_utf16_length(piece) for piece in self._whole)]

    def serialise(self, start: int, end: int) -> str:
        """The slice [start, end)."""
        first, last, head, tail = self._ends(start, end)
        return "".join((head, *self._whole[first + 1 : last], tail))

    def cost(self, start: int, end: int) -> int:
        """The length of the slice [start, end) in UTF-16 units."""
        first, last, head, tail = self._ends(start, end)
        between = self._weights[last] - self._weights[first + 1] if last > first else 0
        return _utf16_length(head) + between + _utf16_length(tail)

    def _ends(self, start: int, end: int) -> tuple[int, int, str, str]:
        """The numbers of the pieces where a slice starts and ends, and what it has of them."""
        first = bisect_right(self._starts, start) - 1
        last = bisect_left(self._starts, end) - 1
        if first == last:
            return first, last, self._piece(first, start, end, is_first=True), ""
        head = self._piece(first, start, self._starts[first + 1], is_first=True)
        return first, last, head, self._piece(last, self._starts[last], end, is_first=False)

    def _divide(self, fences: list[StyledSpan]) -> None:
        position = 0
        for fence in fences:
            self._divide_lines(position, fence.start)
            if self._spans.has("blockquote", fence.start):
                # Fences don't work in quotes: the lines alone.
                self._divide_lines(fence.start, fence.end)
            else:
                self._fences.add(len(self._starts))
                self._starts.append(fence.start)
            position = fence.end
        self._divide_lines(position, len(self._text))

    def _divide_lines(self, start: int, end: int) -> None:
        while start < end:
            self._starts.append(start)
            newline = self._text.find("\n", start, end)
            start = end if newline < 0 else newline + 1

    def _piece(self, number: int, start: int, end: int, *, is_first: bool) -> str:
        """The part [start, end) of a piece; is_first: the slice starts in this piece."""
        text = self._text
        if number in self._fences:
            return _fenced(text[start:end])
        at_line_start = is_first or not start or text[start - 1] == "\n"
        quote = "> " if at_line_start and self._spans.has("blockquote", start) else ""
        newline = "\n" if text[end - 1] == "\n" else ""
        stop = end - len(newline)
        return quote + _line(text, start, stop, self._marked.touching(start, stop)) + newline


def _utf16_length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _fenced(text: str) -> str:
    if not text.strip():
        return text
    return FENCE + text.replace(FENCE, f"`{WORD_JOINER}`{WORD_JOINER}`") + FENCE


def _line(text: str, start: int, end: int, spans: list[StyledSpan]) -> str:
    """One line with its marks, outer ones first; a joiner disarms characters that only look like
    marks.
    """
    if not spans and not _ACCIDENTAL.search(text, start, end):
        return text[start:end]
    opens, closes, codes = _marks(text, start, end, spans)
    starts, ends = [low for low, _ in codes], [high for _, high in codes]
    disarmed = {
        mark + 1 for mark in _accidental(text, start, end) if not _covered(starts, ends, mark)
    }
    pieces: list[str] = []
    previous = start
    for place in sorted({*disarmed, *opens, *closes}):
        pieces.append(text[previous:place])
        pieces += closes.get(place, ())
        if place in disarmed:
            pieces.append(WORD_JOINER)
        pieces += opens.get(place, ())
        previous = place
    pieces.append(text[previous:end])
    return "".join(pieces)


_Marks = dict[int, list[str]]


def _marks(
    text: str, start: int, end: int, spans: list[StyledSpan]
) -> tuple[_Marks, _Marks, list[tuple[int, int]]]:
    """Where a line's marks open and close, and the ranges that are code."""
    opens: _Marks = {}
    closes: _Marks = {}
    codes: list[tuple[int, int]] = []
    for span in spans:
        mark = MARKS[span.type]
        low, high = max(span.start, start), min(span.end, end)
        while low < high and text[low].isspace():
            low += 1
        while low < high and text[high - 1].isspace():
            high -= 1
        if low >= high or (mark == "`" and "`" in text[low:high]):
            continue
        if _inside_word(text, low, high, start, end):
            continue
        opens.setdefault(low, []).append(mark)
        closes.setdefault(high, []).insert(0, mark)
        if mark == "`":
            codes.append((low, high))
    return opens, closes, codes


def _covered(starts: list[int], ends: list[int], position: int) -> bool:
    """Whether one of some ranges, in order and apart, has the position."""
    if not starts:
        return False
    number = bisect_right(starts, position) - 1
    return number >= 0 and position < ends[number]


def _accidental(text: str, start: int, end: int) -> Iterator[int]:
    """Places in a line of characters that would read as marks: at a word's start, followed by a
    character and, later in the line, the same mark at a word's end; and backticks of fences, which
    pair over lines.
    """
    last: dict[str, int] = {}
    for match in _ACCIDENTAL.finditer(text, start, end):
        place, mark = match.start(), match[1]
        if mark is None:
            yield place
            continue
        if mark not in last:
            last[mark] = _last_closer(text, start, end, mark)
        if last[mark] >= place + 2:
            yield place


def _last_closer(text: str, start: int, end: int, mark: str) -> int:
    """The last of a line's marks that no letter follows; less than `start` without one."""
    place = text.rfind(mark, start, end)
    while place >= start and place + 1 < end and _is_word(text[place + 1]):
        place = text.rfind(mark, start, place)
    return place


def _is_word(character: str) -> bool:
    return character == "_" or character.isalnum()


def _inside_word(text: str, low: int, high: int, start: int, end: int) -> bool:
    before = low > start and text[low - 1].isalnum()
    after = high < end and text[high].isalnum()
    return before or after
