"""Checks of what developers declare: a wrong type is refused where it is written."""

import json
from math import isfinite
from typing import Final

from roost.errors import DefinitionError

SHOWN_MAX: Final = 80  # characters of a refused value in an error


def require_type(
    where: str, name: str, value: object, kinds: type | tuple[type, ...], expected: str
) -> None:
    """Raise DefinitionError unless `value` is one of `kinds`; a bool is not a number.

    expected: what the error asks for, such as "a number or None".
    """
    allowed = kinds if isinstance(kinds, tuple) else (kinds,)
    is_wrong_bool = isinstance(value, bool) and bool not in allowed
    if is_wrong_bool or not isinstance(value, allowed):
        raise DefinitionError(f"{where}: {name} must be {expected}, not {shown(value)}.")
    if isinstance(value, float) and not isfinite(value):
        raise DefinitionError(f"{where}: {name} must be {expected}, not {shown(value)}.")
    if isinstance(value, str):
        require_sendable(where, name, value)


def require_sendable(where: str, name: str, value: object) -> None:
    """Raise DefinitionError unless JSON can hold the value: each request to an engine has it."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise DefinitionError(
            f"{where}: {name} can't be sent to a model: {type(error).__name__}: {error}."
        ) from None


def shown(value: object) -> str:
    """The value as an error shows it, with its type."""
    text = repr(value)
    short = text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"
    return f"{short} ({type(value).__name__})"
