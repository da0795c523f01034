"""Words of values whose shape we do not know, and of rich messages; every walk is bounded."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import repeat
from typing import Any, Final

from roost_channels.telegram.inbound.entities import STRUCK, address_of
from roost_channels.telegram.inbound.people import name_of

WORDS_MAX = 2000  # characters of a value in words
RICH_MAX = 32_768  # characters of a rich message, as many as Telegram allows
NODES_MAX = 50_000  # parts of a value that are looked at
CUT = "[…]"
_END: Final[tuple[Any, Any]] = ("", object())
# What needs no label in front of it.
_PLAIN_NAMES = "text title name username question description caption data emoji label address"
_PLAIN = frozenset(_PLAIN_NAMES.split())
_UNTOLD_NAMES = (
    "id type mime_type file_size width height duration thumbnail thumb sticker reply_markup"
)
_UNTOLD = frozenset(_UNTOLD_NAMES.split())
_UNTOLD_STARTS = ("is_", "has_", "can_", "show_", "file_")
_UNTOLD_ENDS = ("_id", "_ids", "entities")
# Dates before are no dates: 2001.
_DATE_MIN, _DATE_MAX = 1_000_000_000, 32_000_000_000
# Fields of rich text and of its blocks that hold words, in the order they are read.
_RICH = (
    *("summary", "label", "title", "text", "expression", "alternative_text", "button", "blocks"),
    *("items", "cells", "buttons", "caption", "credit"),
)
# Kinds of which all that people read is in those fields. Cells, items and captions have no kind.
_KNOWN_KINDS = """
    anchor anchor_link animation audio bank_card_number blockquote bold bot_command button buttons
    cashtag code collage custom_emoji date_time details divider document email_address
    expandable_blockquote footer hashtag heading italic list map marked mathematical_expression
    mention paragraph phone_number photo pre pullquote reference reference_link slideshow spoiler
    strikethrough subscript superscript table text_mention thinking underline url video voice_note
"""
_KNOWN = frozenset((None, *_KNOWN_KINDS.split()))
# A run of blanks is looked at once, from its first one.
_BLANKS = re.compile(r"(?<![ \t])[ \t]++(?=\n)")
_GAPS = re.compile(r"\n{3,}+")


def words_of(value: Any) -> str:
    """All that people would read in a value: texts as they are, figures with their names.

    Ids, flags, sizes and files are left out.
    """
    found: list[str] = []
    chars_left, nodes_left = WORDS_MAX, NODES_MAX
    # One iterator for each level that is walked, so that only what is looked at costs time.
    levels: list[Iterator[tuple[str, Any]]] = [iter((("", value),))]
    while levels and chars_left > 0 and nodes_left > 0:
        nodes_left -= 1
        key, item = next(levels[-1], _END)
        if item is _END[1]:
            levels.pop()
        elif isinstance(item, Mapping):
            levels.append(iter(_fields(item)))
        elif isinstance(item, list | tuple):
            levels.append(zip(repeat(key), item))
        elif word := _word(key, item):
            found.append(word[:chars_left])
            chars_left -= len(word)
    if chars_left <= 0 or nodes_left <= 0:
        found.append(CUT)
    return "; ".join(found)


def _fields(item: Mapping[Any, Any]) -> list[tuple[str, Any]]:
    fields = [(str(key), each) for key, each in item.items() if _is_told(str(key))]
    if "first_name" in item:
        named = ("first_name", "last_name")
        fields = [("name", name_of(item)), *(one for one in fields if one[0] not in named)]
    return fields


def _is_told(key: str) -> bool:
    return not (key in _UNTOLD or key.startswith(_UNTOLD_STARTS) or key.endswith(_UNTOLD_ENDS))


def _word(key: str, item: Any) -> str:
    if isinstance(item, bool) or not isinstance(item, str | int | float):
        return ""
    text = " ".join(item.split()) if isinstance(item, str) else _figure(key, item)
    if not text or not key or (key in _PLAIN and isinstance(item, str)):
        return text
    return f"{key.replace('_', ' ')}: {text}"


def _figure(key: str, number: float) -> str:
    if "date" in key and _DATE_MIN < number < _DATE_MAX:
        return datetime.fromtimestamp(number, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return str(number)[:100]


def rich_words(rich: Any) -> str:
    """The text of a rich message: blocks on lines of their own, links with their addresses.

    https://core.telegram.org/bots/api#richmessage
    """
    found: list[str] = []
    chars_left, nodes_left = RICH_MAX, NODES_MAX
    rest: list[Any] = [rich]
    while rest and chars_left > 0 and nodes_left > 0:
        nodes_left -= 1
        part = rest.pop()
        if isinstance(part, str):
            found.append(part[:chars_left])
            chars_left -= len(part)
        elif isinstance(part, list | tuple):
            rest.extend(reversed(part))
        elif isinstance(part, Mapping):
            rest.extend(reversed(_rich_parts(part)))
    text = _GAPS.sub("\n\n", _BLANKS.sub("", "".join(found))).strip()
    return f"{text} {CUT}".strip() if rest or chars_left < 0 else text


def _rich_parts(node: Mapping[str, Any]) -> list[Any]:
    """What one block or piece of rich text consists of, in reading order."""
    kind, text = node.get("type"), node.get("text")
    if kind == "heading":
        size = node.get("size")
        return ["#" * (size if isinstance(size, int) and 0 < size < 7 else 1), " ", text]
    if kind == "pre":
        return [f"```{node.get('language') or ''}\n", text, "\n```"]
    if kind == "divider":
        return ["---"]
    if kind == "table":
        rows = [_row(row) for row in _list(node.get("cells"))]
        return [node.get("caption"), "\n", *rows]
    if kind == "strikethrough":
        return [STRUCK, text, STRUCK]
    if text and (beside := address_of(node)):
        return [text, f" ({beside})" if text != beside else ""]
    parts = [part for name in _RICH if name in node for part in _rich_field(name, node)]
    location = node.get("location")
    if isinstance(location, Mapping):
        parts.insert(0, f"{location.get('latitude')},{location.get('longitude')}")
    if kind not in _KNOWN and parts:
        rest = words_of({name: each for name, each in node.items() if name not in _RICH})
        parts += [f" ({rest})"] if rest else []
    return parts if parts else [_unknown(node)]


def _rich_field(name: str, node: Mapping[str, Any]) -> list[Any]:
    value = node[name]
    if name == "blocks":
        return [part for block in _list(value) for part in (_named(block), block, "\n")]
    if name == "items":
        return [part for item in _list(value) for part in (item, "\n")]
    if name == "label":
        mark = ("[x] " if node.get("is_checked") else "[ ] ") if node.get("has_checkbox") else ""
        return [value, " ", mark]
    if name == "buttons":
        return [part for button in _list(value) for part in ("[", button, "] ")]
    after = "\n" if name in ("summary", "title") else ""
    before = "\n" if name in ("caption", "credit") else ""
    return [before, value, after]


def _named(block: Any) -> str:
    """The kind of a block that shows a file, such as a photo."""
    if not isinstance(block, Mapping):
        return ""
    kind = block.get("type")
    has_file = kind != "buttons" and isinstance(block.get(str(kind)), list | Mapping)
    return f"[{kind}] " if has_file else ""


def _row(cells: Any) -> list[Any]:
    parts: list[Any] = []
    for cell in _list(cells):
        parts += [" | " if parts else "", cell]
    return [*parts, "\n"]


def _unknown(node: Mapping[str, Any]) -> str:
    return "" if node.get("type") == "anchor" else words_of(node)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
