"""Access to JSON of which nothing is assumed: what is missing or of another type is empty."""

from collections.abc import Mapping, Sequence
from typing import Any


def objects(value: Any) -> Sequence[Mapping[str, Any]]:
    """Return the JSON objects of a list, and nothing if it is not a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def inner(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the JSON object under a name, an empty one where there is none."""
    inside = value.get(name)
    return inside if isinstance(inside, dict) else {}


def text(value: Mapping[str, Any], name: str) -> str:
    """Return the string under a name, the empty string where there is none."""
    inside = value.get(name)
    return inside if isinstance(inside, str) else ""
