"""Access to JSON of which nothing is assumed: what is missing or of another type is empty."""

from collections.abc import Mapping, Sequence
from typing import Any

NUMBER_MAX = 10**20  # longer ones are nobody's


def objects(value: Any) -> Sequence[Mapping[str, Any]]:
    """Return the JSON objects of a list, and nothing if it is not a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def inner(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the JSON object under a name, an empty one where there is none."""
    inside = value.get(name)
    return inside if isinstance(inside, dict) else {}


def text(value: Mapping[str, Any], name: str) -> str:
    """Return the string or whole number under a name as text, the empty string where none is."""
    inside = value.get(name)
    if isinstance(inside, int) and not isinstance(inside, bool) and abs(inside) < NUMBER_MAX:
        return str(inside)
    return inside if isinstance(inside, str) else ""
