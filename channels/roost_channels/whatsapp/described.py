"""Content that no reader knows, in bounded words: what has no name yet is still told."""

import json
import math
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

WORDS_MAX = 800  # characters of one description
VALUE_MAX = 200  # characters of one value in it
VALUES_MAX = 60
DEPTH_MAX = 5
# Of what is stored as it came: storage walks it, and nobody nests this deep on purpose.
STORED_DEPTH_MAX = 32
KIND_MAX = 30
# Events about messages and people: kept in the inbox and never answered.
SILENT = frozenset({"reaction", "revoke", "system"})
# Characters that nobody sees: controls, formats, halves of characters, line separators.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"  # they shape letters and emoji


def plain(text: str, chars_max: int = VALUE_MAX) -> str:
    """The text on one line of characters that people see, cut at `chars_max`."""
    kept = "".join(
        char if char in _JOINERS or unicodedata.category(char) not in _UNSEEN else _gap(char)
        for char in text[: 4 * chars_max]
    )
    line = " ".join(kept.split())
    return line if len(line) <= chars_max else f"{line[: chars_max - 1]}…"


def _gap(char: str) -> str:
    return " " if char.isspace() else ""


def kind_name(kind: str) -> str:
    """A kind as it stands in `[kind: …]`: letters, digits and `_`; `message` if nothing is left."""
    kept = "".join(char for char in kind if char.isascii() and (char.isalnum() or char == "_"))
    return kept[:KIND_MAX] or "message"


def described(value: Any, words_max: int = WORDS_MAX, value_max: int = VALUE_MAX) -> str:
    """`name: value; other name: value` of everything in a JSON value, cut at `words_max`."""
    words: list[str] = []
    for count, (name, shown) in enumerate(_values(value, "", value_max)):
        if count >= VALUES_MAX:
            words.append("…")
            break
        words.append(f"{name}: {shown}" if name else shown)
    return plain("; ".join(words), words_max)


def choice_words(title: str, description: str) -> tuple[str, str]:
    """(the choice as the person's words, what stood below it) of an item of a list.

    Titles are short: a longer choice stands whole in its description.
    """
    if not title or description.startswith(title):
        return description or title, ""
    return title, f"description: {description}" if description else ""


def _values(value: Any, name: str, value_max: int, depth: int = 0) -> Iterator[tuple[str, str]]:
    """(name, value) of the leaves, in order; what lies too deep is `…`."""
    if isinstance(value, Mapping):
        if depth >= DEPTH_MAX:
            yield name, "…"
            return
        for key, item in value.items():
            key = plain(str(key), 60)
            yield from _values(item, f"{name}.{key}" if name else key, value_max, depth + 1)
    elif isinstance(value, list | tuple):
        if depth >= DEPTH_MAX:
            yield name, "…"
            return
        for item in value:
            yield from _values(item, name, value_max, depth + 1)
    else:
        shown = plain(_shown(value), value_max)
        if shown:
            yield name, shown


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def from_json(text: str) -> Any:
    """The value of a JSON text that came inside a field, else the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def storable(value: Any, depth: int = 0) -> Any:
    """A JSON value that every database takes: not too deep, and without NaN and infinities."""
    if isinstance(value, Mapping):
        if depth >= STORED_DEPTH_MAX:
            return "…"
        return {str(key): storable(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        if depth >= STORED_DEPTH_MAX:
            return "…"
        return [storable(item, depth + 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def identifier(text: str) -> str:
    """An id of a network if it can be one, else the empty string: visible ASCII, no longer than
    storage's keys.
    """
    is_id = text.isascii() and text.isprintable() and " " not in text and len(text) <= 512
    return text if is_id else ""
