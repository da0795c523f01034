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

from roost_channels.capabilities import Capabilities
from roost_channels.message import Media
from roost_channels.rendering import layout, marks, markup
from roost_channels.rendering.budget import RENDER_S, Budget, OverBudget
from roost_channels.rendering.cutting import Cost, cuts
from roost_channels.rendering.layout import Layout, SpanIndex, StyledSpan

logger = logging.getLogger(__name__)

# Room kept in every part for the line that marks a possible repeat.
REPEAT_LABEL = "(may be a repeat)\n"
# Before an answer whose topic was deleted, where it fits.
TOPIC_LABEL = "(the topic is gone or closed)\n"

# Networks drop the formatting beyond this many entities of a message without a word.
ENTITIES_MAX = 100
TOO_RICH = 1 << 30  # what a slice with more of them costs: more than any room


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
    markdown: str,
    capabilities: Capabilities,
    *,
    plain: bool = False,
    reserve: int = 0,
    budget_s: float = RENDER_S,
) -> list[RenderedPart]:
    """The parts of a Markdown text for a channel, in order; none for a blank text.

    plain: show the source as it stands. reserve: units kept free in the first part, beside the room
    that every part keeps for REPEAT_LABEL. budget_s: processor time for the formatting; a text that
    takes more is shown plain, complete, in time that grows with its length alone.
    """
    budget = Budget(budget_s)
    try:
        document = _lay_out(markdown, capabilities.markup, plain, budget)
        return _parts(document, capabilities, reserve, budget)
    except OverBudget as error:
        logger.info("shown without formatting: %s", error)
        return _parts(layout.plain(markdown), capabilities, reserve, None)


def _parts(
    document: Layout, capabilities: "Capabilities", reserve: int, budget: Budget | None
) -> list[RenderedPart]:
    if layout.is_blank(document.text):
        return []
    limit = capabilities.text_max - utf16_length(REPEAT_LABEL)
    if capabilities.markup == "marks":
        cost, part = _marked_part(document, has_code=budget is not None)
    else:
        cost, part = _entity_part(document, capabilities.text_unit)
    return [part(start, end) for start, end in cuts(document, limit, reserve, cost, budget)]


def plainer(part: RenderedPart) -> RenderedPart:
    """The same range without formatting, for a provider that refused it."""
    return replace(part, entities=(), rich="")


def labelled(part: RenderedPart) -> RenderedPart:
    """The same range, marked as a possible repeat; labelled already stays as it is."""
    return _with_label(part, REPEAT_LABEL)


def out_of_topic(part: RenderedPart, text_max: int) -> RenderedPart:
    """The same range, marked as meant for a topic that is gone; unmarked where no room is left."""
    length = utf16_length(REPEAT_LABEL + TOPIC_LABEL + part.text)
    has_room = length <= text_max and part.media is None
    return _with_label(part, TOPIC_LABEL) if has_room else part


def _with_label(part: RenderedPart, label: str) -> RenderedPart:
    if part.text.startswith(label):
        return part
    shift = utf16_length(label)
    entities = tuple(
        Entity(e.type, e.offset + shift, e.length, e.url, e.language) for e in part.entities
    )
    return replace(part, text=label + part.text, entities=entities, rich="")


def _lay_out(markdown: str, target: str, plain: bool, budget: Budget) -> Layout:
    if not plain:
        try:
            document = layout.lay_out(
                markup.parse(layout.printable(markdown), budget),
                bullet="• " if target == "entities" else "- ",
                link_spans=target == "entities",
                length_max=2 * len(markdown) + layout.GROWTH_MAX,
                budget=budget,
            )
            if not layout.is_blank(document.text):
                return document if target != "plain" else Layout(document.text, (), document.breaks)
        except (markup.MarkupError, OverBudget, RecursionError) as error:
            logger.info("shown without formatting: %s", error)
        except Exception:
            # The answer must arrive even where our reading of its markup is at fault.
            logger.exception("rendering failed; shown without formatting")
    return layout.plain(markdown)


# What a slice costs and becomes: (cost of [start, end), the part of [start, end)).
_Serialiser = tuple[Cost, Callable[[int, int], RenderedPart]]


def _entity_part(document: Layout, unit: str) -> _Serialiser:
    text = document.text
    units = [0, *accumulate(2 if character > "\uffff" else 1 for character in text)]
    spans = _untangled(document.spans)
    starts, ends = [span.start for span in spans], sorted(span.end for span in spans)
    index = SpanIndex(spans)

    def cost(start: int, end: int) -> int:
        if bisect_left(starts, end) - bisect_right(ends, start) > ENTITIES_MAX:
            return TOO_RICH
        return units[end] - units[start] if unit == "utf16" else end - start

    def part(start: int, end: int) -> RenderedPart:
        entities = []
        for span in index.touching(start, end):
            low, high = max(span.start, start), min(span.end, end)
            # Trailing blanks are trimmed by the network; an entity must not reach into them.
            while high > low and text[high - 1].isspace():
                high -= 1
            if low < high:
                offset, length = units[low] - units[start], units[high] - units[low]
                entities.append(Entity(span.type, offset, length, span.url, span.language))
        return RenderedPart(text[start:end], tuple(entities), start, end)

    return cost, part


def _untangled(spans: tuple[StyledSpan, ...]) -> list[StyledSpan]:
    """Spans without a style around code, which entities allow none of."""
    codes = [span for span in spans if span.type in ("code", "pre")]
    starts, ends = [code.start for code in codes], [code.end for code in codes]
    result: list[StyledSpan] = []
    for span in spans:
        if span.type in ("bold", "italic", "strikethrough"):
            low, high = bisect_right(ends, span.start), bisect_left(starts, span.end)
            result += _without(span, codes[low:high])
        else:
            result.append(span)
    return sorted(result, key=lambda span: (span.start, -span.end))


def _without(span: StyledSpan, holes: list[StyledSpan]) -> list[StyledSpan]:
    """What is left of a span around holes, which come in order and do not overlap."""
    if not holes:
        return [span]
    edges = [span.start, *(edge for hole in holes for edge in (hole.start, hole.end)), span.end]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return [StyledSpan(span.type, low, high, span.url) for low, high in pairs if low < high]


def _marked_part(document: Layout, *, has_code: bool) -> _Serialiser:
    text = marks.Serialiser(document, has_code=has_code)

    def part(start: int, end: int) -> RenderedPart:
        return RenderedPart(text.serialise(start, end), (), start, end)

    return text.cost, part
