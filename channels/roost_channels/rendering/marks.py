"""Text with marks written around styled words: `*bold*`, `_italic_`, `~struck~`, code, `> quote`.

Marks close on the line they open on and stand at word boundaries, or networks
show them as characters. A style that can't stand there is dropped; its words stay. An address or
an identifier whose own characters would read as marks is shown as code, unchanged; in other words
a joiner disarms such characters.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import accumulate

from roost_channels.rendering.layout import Layout, SpanIndex, StyledSpan
from roost_channels.rendering.words import address_end, addresses

MARKS = {"bold": "*", "italic": "_", "strikethrough": "~", "code": "`"}
_MARK_CHARACTERS = "*_~`"
FENCE = "```"
WORD_JOINER = "\u2060"

# Characters that would read as marks: of fences, and (in the group) at a word's start.
_ACCIDENTAL = re.compile(r"`(?=``)|(?<=`)`(?=`)|(?<=``)`|(?<![\w*_~`])([*_~`][*_~]*)(?=\S)")
# Several marks inside a word: all but the first stand behind a mark, which is no letter.
_INNER = re.compile(r"(?<=\w)(?<!_)([*~][*_~]+)(?=\S)")
# Powers of numbers, which networks don't take for marks.
_POWERS = re.compile(r"(?<![^\s(])\d+(?:\*\*\d+)+(?![^\s),.;:])")
# A word that may be shown as code: its characters, without brackets and punctuation around.
_VISIBLE = re.compile(r"[!-~]+")
_AROUND = "([{<\"'"
_BEHIND = ")]}>\"'.,;:!?"


class Serialiser:
    """Slices of a document with marks, every mark opened and closed in its slice.

    The document is divided once into pieces: lines and code blocks. The length of each whole piece
    is kept, so the length of a slice needs only the two pieces at its ends to be formatted again.
    """

    def __init__(self, document: Layout, *, has_code: bool = True) -> None:
        """Without `has_code` no word is shown as code to keep its characters."""
        self._text = document.text
        self._has_code = has_code
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
        spans = self._marked.touching(start, stop)
        return quote + _line(text, start, stop, spans, has_code=self._has_code) + newline


def _utf16_length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _fenced(text: str) -> str:
    if not text.strip():
        return text
    # A backtick beside a fence would be read as part of it.
    before = WORD_JOINER if text[0] == "`" else ""
    after = WORD_JOINER if text[-1] == "`" else ""
    inner = text.replace(FENCE, f"`{WORD_JOINER}`{WORD_JOINER}`")
    return f"{FENCE}{before}{inner}{after}{FENCE}"


def _line(text: str, start: int, end: int, spans: list[StyledSpan], *, has_code: bool) -> str:
    """One line with its marks, outer ones first; characters that only look like marks disarmed."""
    if not spans and not any(marks.search(text, start, end) for marks in (_ACCIDENTAL, _INNER)):
        return text[start:end]
    opens, closes, codes = _marks(text, start, end, spans)
    accidental = _outside(codes, sorted(_accidental(text, start, end, closes)))
    if accidental and has_code:
        borders = sorted({*opens, *closes})
        words = list(_code_words(text, start, end, accidental, borders))
        for low, high in words:
            before = WORD_JOINER if low > start and _is_word(text[low - 1]) else ""
            after = WORD_JOINER if high < end and _is_word(text[high]) else ""
            opens.setdefault(low, []).append(f"{before}`")
            closes.setdefault(high, []).insert(0, f"`{after}")
        accidental = _outside(words, accidental)
    disarmed = {place + 1 for place in accidental}
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


def _outside(ranges: list[tuple[int, int]], places: list[int]) -> list[int]:
    """The places that are in none of some ranges, which come in order and apart."""
    starts, ends = [low for low, _ in ranges], [high for _, high in ranges]
    return [place for place in places if not _covered(starts, ends, place)]


def _code_words(
    text: str, start: int, end: int, accidental: list[int], borders: list[int]
) -> Iterator[tuple[int, int]]:
    """Ranges of a line that are to be code: addresses and identifiers with accidental marks.

    borders: places of marks of ours, none of which a range may have inside.
    """
    for low, high, is_address in _words(text, start, end):
        first = bisect_left(accidental, low)
        if first == len(accidental) or accidental[first] >= high or "`" in text[low:high]:
            continue
        if bisect_left(borders, high) > bisect_right(borders, low):
            continue
        if is_address or _is_copied(text, low, high, end, accidental, first):
            yield low, high


def _words(text: str, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """The words of a line that people copy as they are, and whether each is an address."""
    position = start
    for low, high in [*addresses(text, start, end), (end, end)]:
        for word in _VISIBLE.finditer(text, position, low):
            inner = word.group().lstrip(_AROUND)
            first = word.end() - len(inner)
            last = first + len(inner.rstrip(_BEHIND))
            if first < last:
                yield first, last, False
        last = address_end(text, low, high)
        if low < last:
            yield low, last, True
        position = high


def _is_copied(text: str, low: int, high: int, end: int, accidental: list[int], first: int) -> bool:
    """Whether a word with accidental marks, from number `first` on, is an identifier: it has marks
    behind letters, or one that opens and closes in it.
    """
    begins = low
    while begins < high and text[begins] in _MARK_CHARACTERS:
        begins += 1
    last: dict[str, int] = {}
    for number in range(first, len(accidental)):
        place = accidental[number]
        if place >= high:
            break
        mark = text[place]
        if mark not in last:
            last[mark] = _last_closer(text, low, min(high + 1, end), mark)
        if place > begins or last[mark] >= place + 2:
            return True
    return False


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


def _accidental(text: str, start: int, end: int, closes: _Marks) -> Iterator[int]:
    """Places in a line of characters that would read as marks: at a word's start, followed by a
    character and, later in the line, the same mark at a word's end; and backticks of fences, which
    pair over lines.
    """
    ours = {mark: place for place in sorted(closes) for mark in closes[place]}
    last = {
        mark: max(ours.get(mark, -1), _last_closer(text, start, end, mark))
        for mark in _MARK_CHARACTERS
    }
    for match in _ACCIDENTAL.finditer(text, start, end):
        if match[1] is None:
            yield match.start()
            continue
        # Behind a joiner each further mark of the row begins a word.
        yield from _openers(match.start(), match[1], last)
    powers = [match.span() for match in _POWERS.finditer(text, start, end)]
    starts, ends = [low for low, _ in powers], [high for _, high in powers]
    for match in _INNER.finditer(text, start, end):
        if not _covered(starts, ends, match.start()):
            yield from _openers(match.start() + 1, match[1][1:], last)


def _openers(place: int, row: str, last: dict[str, int]) -> Iterator[int]:
    """The marks of a row at `place` that a later one of the line may close."""
    for number, mark in enumerate(row, place):
        if last[mark] >= number + 2:
            yield number


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
