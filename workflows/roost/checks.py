"""Checks of what developers declare: a wrong type is refused where it is written."""

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


def shown(value: object) -> str:
    """The value as an error shows it, with its type."""
    text = repr(value)
    short = text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"
    return f"{short} ({type(value).__name__})"
