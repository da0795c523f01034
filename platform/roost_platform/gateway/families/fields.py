"""Reads single fields of a request; every error names the field."""

import math
from collections.abc import Collection, Mapping
from typing import Any, Final, NoReturn

from roost_inference.errors import InvalidRequest

NAME_CHARACTERS_MAX: Final = 256
TOKENS_MAX: Final = 2**31 - 1
SESSION_HEADERS: Final = ("x-session-id", "x-session-affinity", "x-claude-code-session-id")


def refuse(name: str, rule: str) -> NoReturn:
    """Raise InvalidRequest that names the field and what it has to be."""
    raise InvalidRequest(f"{name} {rule}", param=name)


def text_field(body: Mapping[str, Any], name: str) -> str:
    """A text, empty where it is absent or null."""
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        refuse(name, "has to be a text")
    return value


def plain_name(body: Mapping[str, Any], name: str) -> str:
    """A name that is stored with the call: without what no database takes, and cut to a bound."""
    text = text_field(body, name).replace("\0", "").encode(errors="replace").decode()
    return text[:NAME_CHARACTERS_MAX]


def model_field(body: Mapping[str, Any]) -> str:
    """The model's name, empty where the request names none."""
    name = text_field(body, "model")
    if len(name) > NAME_CHARACTERS_MAX or (name and not name.isprintable()):
        refuse("model", f"has to be a name of at most {NAME_CHARACTERS_MAX} printable characters")
    return name


def session_of(body: Mapping[str, Any], headers: Mapping[str, str]) -> str:
    """The client's name of its conversation, by any of the names that clients use."""
    for header in SESSION_HEADERS:
        if value := headers.get(header):
            return plain_name({header: str(value)}, header)
    for name in ("session_id", "prompt_cache_key"):
        if isinstance(body.get(name), str) and body[name]:
            return plain_name(body, name)
    return ""


def flag(body: Mapping[str, Any], name: str) -> bool:
    """A truth value, False where it is absent or null."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        refuse(name, "has to be true or false")
    return bool(value)


def whole_number(
    body: Mapping[str, Any], name: str, least: int, most: int | None = None
) -> int | None:
    """A whole number between these bounds, None where it is absent or null."""
    value = body.get(name)
    if value is None:
        return None
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or value < least or (most is not None and value > most):
        span = f"at least {least}" if most is None else f"from {least} to {most}"
        refuse(name, f"has to be a whole number, {span}")
    return int(value)


def number(
    body: Mapping[str, Any], name: str, least: float, most: float, *, is_above: bool = False
) -> float | None:
    """A number between these bounds, None where it is absent or null. is_above: not `least` itself.

    The bounds are within what a float can hold, so that no whole number is too large to compare.
    """
    value = body.get(name)
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_inside = is_number and not _is_nan(value) and least <= value <= most
    if not is_inside or (is_above and value == least):
        span = (
            f"above {least:g} and at most {most:g}" if is_above else f"from {least:g} to {most:g}"
        )
        refuse(name, f"has to be a number {span}")
    return float(value)


def _is_nan(value: float) -> bool:
    return isinstance(value, float) and math.isnan(value)


def one_of(body: Mapping[str, Any], name: str, known: Collection[str]) -> str:
    """One of these words, empty where it is absent or null."""
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or value not in known:
        refuse(name, f"has to be one of {', '.join(sorted(known))}")
    return value


def object_field(body: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """An object, None where it is absent or null."""
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        refuse(name, "has to be an object")
    return value


def list_field(body: Mapping[str, Any], name: str, most: int) -> list[Any] | None:
    """A list of at most so many entries, None where it is absent or null."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > most:
        refuse(name, f"has to be a list of at most {most} entries")
    return value
