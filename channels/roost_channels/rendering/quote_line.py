"""The line that quotes a message in words, for channels without native quotes."""

import re

from roost_channels.message import ReplyTarget
from roost_channels.rendering.cutting import shortened
from roost_channels.rendering.layout import Layout, printable
from roost_channels.rendering.marks import Serialiser
from roost_channels.rendering.parts import utf16_length

# UTF-16 units that the quote line and its blank line may take of the first part.
QUOTE_PREFIX_MAX = 200
EXCERPT_MAX = 120
SHORT_EXCERPT_MAX = 60
SCANNED_MAX = 500  # characters of an excerpt that are looked at
# Words between marks of the same kind; the marks of `__init__` and of addresses are characters.
_STYLED = re.compile(
    r"(?<![\w*_~`/])(\*{1,3}|_|~{1,2}|`{1,3})(?=\S)([^*_~`]+)(?<=\S)\1(?![\w*_~`])"
)
AUTHOR_MAX = 40


def needs_quote_line(reply: ReplyTarget) -> bool:
    """Without a native quote the line says what is meant: for an older message, or on request."""
    return bool(reply.quote) or not reply.is_latest


def quote_prefix(author: str, excerpt: str) -> str:
    """`> author: excerpt` and a blank line, empty without one; at most QUOTE_PREFIX_MAX units."""
    words = _unstyled(" ".join(printable(excerpt[:SCANNED_MAX]).split()))
    if not words:
        return ""
    if len(words) > EXCERPT_MAX:
        words = shortened(words, EXCERPT_MAX - 1).rstrip() + "…"
    name = shortened(" ".join(re.sub(r"[*_~`>:]", "", author).split()), AUTHOR_MAX)
    shown = _without_marks(words)
    line = f"> {name}: {shown}\n\n" if name else f"> {shown}\n\n"
    # Counted in UTF-16 units, so that characters beyond the first plane can't break the bound.
    if utf16_length(line) <= QUOTE_PREFIX_MAX:
        return line
    return f"> {_without_marks(shortened(words, SHORT_EXCERPT_MAX))}…\n\n"


def _unstyled(words: str) -> str:
    """The words without marks that style them."""
    return _STYLED.sub(lambda found: found[2], words)


def _without_marks(words: str) -> str:
    """The words as the network shows them in one line: their own marks style nothing."""
    return Serialiser(Layout(words)).serialise(0, len(words)) if words else ""
