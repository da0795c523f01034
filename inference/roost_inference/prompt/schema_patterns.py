"""Counts the regular expressions of a JSON schema that may have to hold for one value together."""

from collections.abc import Iterator, Mapping
from typing import Any

# The library searches for a text that fits all of them, and each one more than doubles the search:
# twelve take 50 ms, sixteen a second, twenty-six hours.
PATTERNS_COMBINED_MAX = 12

# They restrict no value, so that a part with these beside a reference combines nothing.
_NOTES = frozenset(
    {
        *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"),
        *("$defs", "definitions", "$schema", "$id", "$comment", "$anchor", "x-guidance"),
    }
)


def combined_patterns(schema: Mapping[str, Any]) -> int:
    """How many different patterns and formats the schema has, 0 if it combines no parts.

    It combines parts by `allOf`, by a reference with more beside it, and by names that fit several
    of `patternProperties`.
    """
    found: set[str] = set()
    is_combining = False
    for part in _parts(schema):
        found.update(f"{key} {part[key]}" for key in ("pattern", "format") if _is_text(part, key))
        names = part.get("patternProperties")
        if isinstance(names, dict):
            found.update(f"pattern {name}" for name in names)
            is_combining = True
        is_combining = is_combining or _combines(part)
    return len(found) if is_combining else 0


def _combines(part: Mapping[str, Any]) -> bool:
    beside = len(part.keys() - _NOTES)
    every = part.get("allOf")
    if isinstance(every, list):
        return len(every) + beside > 2
    return _is_text(part, "$ref") and beside > 1


def _is_text(part: Mapping[str, Any], key: str) -> bool:
    return isinstance(part.get(key), str)


def _parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    """All objects in a schema, itself first."""
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
