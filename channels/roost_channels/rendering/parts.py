"""Markdown rendered to parts that fit a channel.

A logical message has one plain text: its document laid out, without marks. `char_start` and
`char_end` of a part are positions (code points) in that text, and the parts' ranges tile it. Where
formatting travels as entities the parts' texts are exactly those slices, so their concatenation is
the text. Where it travels as marks (`*`, `_`, `~`, backticks, `> `) these are written into each
part around its slice, opened and closed within it.
"""

import logging
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import accumulate

import regex  # type: ignore[import-untyped]

from roost_channels.capabilities import Capabilities
from roost_channels.message import Media
from roost_channels.rendering import layout, marks, markup
from roost_channels.rendering.layout import Layout, Span

logger = logging.getLogger(__name__)

# Room kept in every part for the line that marks a possible repeat.
REPEAT_LABEL = "(may be a repeat)\n"

# Networks drop the formatting beyond this many entities of a message without a word.
ENTITIES_MAX = 100
TOO_RICH = 1 << 30  # what a slice with more of them costs: more than any room

_GRAPHEMES = regex.compile(r"\X")
# A cut is taken at the best kind of place that leaves at least this share of a full part.
_CUT_SHARES = {"block": 0.5, "line": 0.4, "word": 0.3}


@dataclass(frozen=True, slots=True)
class Entity:
    """A formatted range in UTF-16 units, its type a name such as `bold`, `pre` or `text_link`.

    `url` is for text_link, `language` for pre.
    """

    type: str
    offset: int
    length: int
    url: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class RenderedPart:
    """Text ready for one physical send; char_start and char_end place it in the plain text.

    media: the file that is sent, `text` being its caption.
    rich: the same range as Markdown, for a channel that lays it out itself; dropped where refused.
    album: parts of a message with the same mark may be shown together; dropped where refused.
    """

    text: str
    entities: tuple[Entity, ...] = field(default=())
    char_start: int = 0
    char_end: int = 0
    media: Media | None = None
    rich: str = ""
    album: str = ""


def utf16_length(text: str) -> int:
    """Length in UTF-16 units, which entities and some limits are counted in."""
    return len(text) + sum(1 for character in text if character > "\uffff")


def render(
    markdown: str, capabilities: Capabilities, *, plain: bool = False, reserve: int = 0
) -> list[RenderedPart]:
    """The parts of a Markdown text for a channel, in order; none for a blank text.

    plain: show the source as it stands. reserve: units kept free in the first part, beside the room
    that every part keeps for REPEAT_LABEL.
    """
    document = _lay_out(markdown, capabilities.markup, plain)
    if layout.is_blank(document.text):
        return []
    limit = capabilities.text_max - utf16_length(REPEAT_LABEL)
    if capabilities.markup == "marks":
        return _cut(document, limit, reserve, _marked_part(document))
    return _cut(document, limit, reserve, _entity_part(document, capabilities.text_unit))


def plainer(part: RenderedPart) -> RenderedPart:
    """The same range without formatting, for a provider that refused it."""
    return replace(part, entities=(), rich="")


def labelled(part: RenderedPart) -> RenderedPart:
    """The same range, marked as a possible repeat; labelled already stays as it is."""
    if part.text.startswith(REPEAT_LABEL):
        return part
    shift = utf16_length(REPEAT_LABEL)
    entities = tuple(
        Entity(e.type, e.offset + shift, e.length, e.url, e.language) for e in part.entities
    )
    return replace(part, text=REPEAT_LABEL + part.text, entities=entities, rich="")


def _lay_out(markdown: str, target: str, plain: bool) -> Layout:
    if not plain:
        try:
            blocks = markup.parse(layout.printable(markdown))
            bullet = "• " if target == "entities" else "- "
            document = layout.lay_out(blocks, bullet=bullet, link_spans=target == "entities")
            if not layout.is_blank(document.text):
                return document if target != "plain" else Layout(document.text, (), document.breaks)
        except (markup.MarkupError, RecursionError) as error:
            logger.info("shown without formatting: %s", error)
        except Exception:
            # The answer must arrive even where our reading of its markup is at fault.
            logger.exception("rendering failed; shown without formatting")
    return layout.plain(markdown)


# What a slice costs and becomes: (cost of [start, end), the part of [start, end)).
_Serialiser = tuple[Callable[[int, int], int], Callable[[int, int], RenderedPart]]


def _cut(document: Layout, limit: int, reserve: int, serialiser: _Serialiser) -> list[RenderedPart]:
    cost, part = serialiser
    text = document.text
    parts: list[RenderedPart] = []
    start = 0
    while start < len(text):
        room = limit if parts else limit - reserve
        end = _furthest(cost, start, len(text), room)
        while True:
            cut = end if end == len(text) else _best_cut(document, start, end)
            if cost(start, cut) <= room or cut <= start + 1:
                break
            end = cut - 1  # marks of the shorter slice weigh more: look again below it
        parts.append(part(start, cut))
        start = cut
    return parts


def _furthest(cost: Callable[[int, int], int], start: int, length: int, room: int) -> int:
    """The largest end (more than start) whose slice costs no more than `room`."""
    low, high = start + 1, min(length, start + max(room, 1))
    if cost(start, high) <= room:
        return high
    while low + 1 < high:
        middle = (low + high) // 2
        if cost(start, middle) <= room:
            low = middle
        else:
            high = middle
    return low


def _best_cut(document: Layout, start: int, end: int) -> int:
    """The best place to end a part that may reach to `end`: block, line, word, else a grapheme."""
    text = document.text
    window = text[start : end + 1]
    places: list[int] = [
        start + m.end() for m in _GRAPHEMES.finditer(window) if start + m.end() <= end
    ]
    if not places:
        return end  # one grapheme longer than a part: no better place exists
    blocks = document.breaks[
        bisect_right(document.breaks, start) : bisect_right(document.breaks, end)
    ]
    kinds = (
        ("block", set(blocks).intersection(places)),
        ("line", {place for place in places if text[place - 1] == "\n"}),
        ("word", {place for place in places if text[place - 1].isspace()}),
    )
    for kind, candidates in kinds:
        best = max(candidates, default=start)
        if best - start >= (end - start) * _CUT_SHARES[kind]:
            return best
    return places[-1]


def _entity_part(document: Layout, unit: str) -> _Serialiser:
    text = document.text
    units = [0, *accumulate(2 if character > "\uffff" else 1 for character in text)]
    spans = _untangled(document.spans)
    starts, ends = [span.start for span in spans], sorted(span.end for span in spans)

    def cost(start: int, end: int) -> int:
        if bisect_left(starts, end) - bisect_right(ends, start) > ENTITIES_MAX:
            return TOO_RICH
        return units[end] - units[start] if unit == "utf16" else end - start

    def part(start: int, end: int) -> RenderedPart:
        entities = []
        for span in spans:
            low, high = max(span.start, start), min(span.end, end)
            # Trailing blanks are trimmed by the network; an entity must not reach into them.
            while high > low and text[high - 1].isspace():
                high -= 1
            if low < high:
                offset, length = units[low] - units[start], units[high] - units[low]
                entities.append(Entity(span.type, offset, length, span.url, span.language))
        return RenderedPart(text[start:end], tuple(entities), start, end)

    return cost, part


def _untangled(spans: tuple[Span, ...]) -> list[Span]:
    """Spans without a style around code, which entities allow none of."""
    codes = [span for span in spans if span.type in ("code", "pre")]
    result: list[Span] = []
    for span in spans:
        pieces = [span]
        if span.type in ("bold", "italic", "strikethrough"):
            for code in codes:
                pieces = [rest for piece in pieces for rest in _without(piece, code)]
        result += pieces
    return sorted(result, key=lambda span: (span.start, -span.end))


def _without(span: Span, hole: Span) -> list[Span]:
    if hole.end <= span.start or hole.start >= span.end:
        return [span]
    ends = ((span.start, min(span.end, hole.start)), (max(span.start, hole.end), span.end))
    return [Span(span.type, low, high, span.url) for low, high in ends if low < high]


def _marked_part(document: Layout) -> _Serialiser:
    def cost(start: int, end: int) -> int:
        return utf16_length(marks.serialise(document, start, end))

    def part(start: int, end: int) -> RenderedPart:
        text = marks.serialise(document, start, end)
        return RenderedPart(text, (), start, end)

    return cost, part
