"""The line that quotes a message in words, for channels without native quotes."""

import re

from roost_channels.message import ReplyTarget

# UTF-16 units that the quote line and its blank line may take of the first part.
QUOTE_PREFIX_MAX = 200
EXCERPT_MAX = 120
AUTHOR_MAX = 40


def needs_quote_line(reply: ReplyTarget) -> bool:
    """Without a native quote the line says what is meant: for an older message, or on request."""
    return bool(reply.quote) or not reply.is_latest


def quote_prefix(author: str, excerpt: str) -> str:
    """`> author: excerpt` and a blank line, empty without one; at most QUOTE_PREFIX_MAX units."""
    words = " ".join(re.sub(r"[*_~`>]", "", excerpt).split())
    if not words:
        return ""
    if len(words) > EXCERPT_MAX:
        words = words[: EXCERPT_MAX - 1].rstrip() + "…"
    name = " ".join(re.sub(r"[*_~`>:]", "", author).split())[:AUTHOR_MAX]
    line = f"> {name}: {words}\n\n" if name else f"> {words}\n\n"
    # Counted in UTF-16 units, so that characters beyond the first plane can't break the bound.
    return line if len(line.encode("utf-16-le")) <= 2 * QUOTE_PREFIX_MAX else f"> {words[:60]}…\n\n"
