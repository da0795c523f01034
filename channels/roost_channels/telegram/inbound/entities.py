"""Texts with what stands behind their words: addresses of links and people, and exact dates."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

ENTITIES_MAX = 200  # Telegram sends at most 100 for one text
URL_MAX = 2048  # characters of one address
UNIX_TIME_MAX = 32_000_000_000  # the year 2984
_HIGH, _LOW = (0xD8, 0xDC), (0xDC, 0xE0)  # upper bytes of the halves of a character in UTF-16


def with_addresses(text: str, entities: Any, account: str = "") -> str:
    """Return the text with the address beside the words of each link.

    entities: MessageEntity objects; those that don't fit the text are left out. account: our own
    id, whose mention needs no address. https://core.telegram.org/bots/api#messageentity
    """
    units = text.encode("utf-16-le", "surrogatepass")
    beside: list[tuple[int, str]] = []
    for entity in _listed(entities)[:ENTITIES_MAX]:
        start, end = span_of(entity)
        address = _address(entity, account)
        words = units[start:end].decode("utf-16-le", "replace")
        if not address or not words.strip() or end > len(units) or address in _forms(words):
            continue
        # A link may end with blanks; the address stands right behind the words.
        end -= 2 * (len(words) - len(words.rstrip()))
        beside.append((_whole(units, end), f" ({address})"))
    for end, words in sorted(set(beside), reverse=True):
        units = units[:end] + words.encode("utf-16-le", "surrogatepass") + units[end:]
    return units.decode("utf-16-le", "replace")


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


def _address(entity: Mapping[str, Any], account: str) -> str:
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
