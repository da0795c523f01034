"""Text with marks written around styled words: `*bold*`, `_italic_`, `~struck~`, code, `> quote`.

Marks close on the line they open on and stand at word boundaries, or networks
show them as characters. A style that can't stand there is dropped; its words stay.
"""

import re

from roost_channels.rendering.layout import Layout, Span

MARKS = {"bold": "*", "italic": "_", "strikethrough": "~", "code": "`"}
FENCE = "```"
WORD_JOINER = "\u2060"

# Characters of the text that would read as marks: at word boundaries, closed on the same line; and
# fences, which pair over lines.
_ACCIDENTAL = re.compile(
    r"`(?=``)|(?<=`)`(?=`)|(?<=``)`|(?<![\w*_~`])([*_~`])(?=\S[^\n]*?\S?\1(?!\w))"
)


def serialise(document: Layout, start: int, end: int) -> str:
    """The slice [start, end) of a document; every mark in it is opened and closed in it."""
    spans = [span for span in document.spans if span.start < end and span.end > start]
    pieces: list[str] = []
    position = start
    for fence in [span for span in spans if span.type == "pre"]:
        low, high = max(fence.start, start), min(fence.end, end)
        pieces.append(_lines(document.text, position, low, spans, start))
        if _quoted(spans, low):  # fences don't work in quotes: the lines alone
            pieces.append(_lines(document.text, low, high, spans, start))
        else:
            pieces.append(_fenced(document.text[low:high]))
        position = high
    pieces.append(_lines(document.text, position, end, spans, start))
    return "".join(pieces)


def _quoted(spans: list[Span], position: int) -> bool:
    return any(s.type == "blockquote" and s.start <= position < s.end for s in spans)


def _fenced(text: str) -> str:
    if not text.strip():
        return text
    return FENCE + text.replace(FENCE, f"`{WORD_JOINER}`{WORD_JOINER}`") + FENCE


def _lines(text: str, start: int, end: int, spans: list[Span], part_start: int) -> str:
    pieces: list[str] = []
    position = start
    while position < end:
        newline = text.find("\n", position, end)
        stop = end if newline < 0 else newline
        at_line_start = position == part_start or text[position - 1] == "\n"
        if at_line_start and _quoted(spans, position):
            pieces.append("> ")
        pieces.append(_line(text, position, stop, spans))
        if newline >= 0:
            pieces.append("\n")
        position = stop + 1
    return "".join(pieces)


def _line(text: str, start: int, end: int, spans: list[Span]) -> str:
    """One line with its marks, outer ones first, literal marks disarmed."""
    opens: dict[int, list[str]] = {}
    closes: dict[int, list[str]] = {}
    shielded: list[tuple[int, int]] = []
    for span in spans:
        mark = MARKS.get(span.type)
        low, high = max(span.start, start), min(span.end, end)
        while low < high and text[low].isspace():
            low += 1
        while low < high and text[high - 1].isspace():
            high -= 1
        if mark is None or low >= high or (mark == "`" and "`" in text[low:high]):
            continue
        if _inside_word(text, low, high, start, end):
            continue
        opens.setdefault(low, []).append(mark)
        closes.setdefault(high, []).insert(0, mark)
        if mark == "`":
            shielded.append((low, high))
    if not opens and not _ACCIDENTAL.search(text, start, end):
        return text[start:end]
    disarmed = {
        match.end()
        for match in _ACCIDENTAL.finditer(text, start, end)
        if not any(low <= match.start() < high for low, high in shielded)
    }
    pieces: list[str] = []
    for index in range(start, end + 1):
        pieces += closes.get(index, [])
        if index in disarmed:
            pieces.append(WORD_JOINER)
        pieces += opens.get(index, [])
        if index < end:
            pieces.append(text[index])
    return "".join(pieces)


def _inside_word(text: str, low: int, high: int, start: int, end: int) -> bool:
    before = low > start and text[low - 1].isalnum()
    after = high < end and text[high].isalnum()
    return before or after
