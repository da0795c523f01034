"""Texts with what stands behind their words: addresses of links and people, exact dates, and marks
without which the words mean something else.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

ENTITIES_MAX = 200  # Telegram sends at most 100 for one text
URL_MAX = 2048  # characters of one address
STRUCK, QUOTED = "~~", "> "
_QUOTES = frozenset({"blockquote", "expandable_blockquote"})
_BREAK = "\n".encode("utf-16-le")
UNIX_TIME_MAX = 32_000_000_000  # the year 2984
_HIGH, _LOW = (0xD8, 0xDC), (0xDC, 0xE0)  # upper bytes of the halves of a character in UTF-16


def with_addresses(text: str, entities: Any, account: str = "") -> str:
    """Return the text with what its entities add to the words: the address beside a link, the
    marks of what is struck out and of what is quoted.

    entities: MessageEntity objects; those that don't fit the text are left out. account: our own
    id, whose mention needs no address. https://core.telegram.org/bots/api#messageentity
    """
    units = text.encode("utf-16-le", "surrogatepass")
    beside: set[tuple[int, str]] = set()
    quoted_to = 0  # quotes don't overlap; each line is looked at once
    for entity in _listed(entities)[:ENTITIES_MAX]:
        start, end = span_of(entity)
        words = units[start:end].decode("utf-16-le", "replace")
        if not words.strip() or end > len(units):
            continue
        # A link may end with blanks; the address stands right behind the words.
        stop = _whole(units, end - 2 * (len(words) - len(words.rstrip())))
        address = address_of(entity, account)
        if address and address not in _forms(words):
            beside.add((stop, f" ({address})"))
        elif entity.get("type") == "strikethrough":
            # Where another style begins within, Telegram sends two that touch: they are one.
            beside ^= {(_whole(units, start), STRUCK), (stop, STRUCK)}
        elif entity.get("type") in _QUOTES and start >= quoted_to:
            beside |= {(place, QUOTED) for place in _lines(units, start, end)}
            quoted_to = end
    return _inserted(units, beside)


def _lines(units: bytes, start: int, end: int) -> Iterator[int]:
    """Where the lines of a span begin."""
    yield start
    at = start
    while (at := units.find(_BREAK, at, end)) >= 0:
        # The halves of two other units may look like a break.
        is_break = at % 2 == 0
        at += 2 if is_break else 1
        if is_break and at < end:
            yield at


def _inserted(units: bytes, beside: Collection[tuple[int, str]]) -> str:
    pieces: list[bytes] = []
    at = 0
    for place, words in sorted(beside):
        pieces += [units[at:place], words.encode("utf-16-le", "surrogatepass")]
        at = place
    return b"".join([*pieces, units[at:]]).decode("utf-16-le", "replace")


def span_of(entity: Mapping[str, Any]) -> tuple[int, int]:
    """Where an entity stands, in bytes of UTF-16; an empty span for one that names no place."""
    offset, length = entity.get("offset"), entity.get("length")
    if not isinstance(offset, int) or not isinstance(length, int) or offset < 0 or length < 0:
        return 0, 0
    return 2 * offset, 2 * (offset + length)


def _listed(entities: Any) -> Sequence[Mapping[str, Any]]:
    if not isinstance(entities, list):
        return ()
    return [each for each in entities if isinstance(each, Mapping)]


def address_of(entity: Mapping[str, Any], account: str = "") -> str:
    """What stands behind an entity's words: an address, a person's, or a moment; else empty."""
    kind, url, moment = entity.get("type"), entity.get("url"), entity.get("unix_time")
    if isinstance(url, str):  # of links, and of kinds from after this was written
        return " ".join(url.split())[:URL_MAX]
    if kind == "date_time" and type(moment) is int and 0 <= moment < UNIX_TIME_MAX:
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
    user = entity.get("user")
    if kind == "text_mention" and isinstance(user, Mapping):
        number = str(user.get("id") or "")
        return f"tg://user?id={number}" if number and number != account else ""
    return ""


def _whole(units: bytes, end: int) -> int:
    """The place itself, or the one behind the character that it would cut in two."""
    before, after = units[end - 1 : end], units[end + 1 : end + 2]
    is_cut = before and after and _HIGH[0] <= before[0] < _HIGH[1] and _LOW[0] <= after[0] < _LOW[1]
    return end + 2 if is_cut else end


def _forms(words: str) -> frozenset[str]:
    """The addresses that the words themselves already say."""
    said = words.strip()
    return frozenset(
        f"{scheme}{said}{end}" for scheme in ("", "http://", "https://") for end in ("", "/")
    )
