"""Checks fields of Anthropic's requests; errors name a field by its path, as Anthropic's do."""

from collections.abc import Mapping, Sequence
from typing import Any

from roost_inference.errors import InvalidRequest
from roost_platform.gateway.families.fields import TOKENS_MAX


def invalid(path: str, problem: str) -> InvalidRequest:
    """The error of a field, such as `messages.0.content: Field required`."""
    return InvalidRequest(f"{path}: {problem}", param=path)


def text_of(value: Any, path: str) -> str:
    """A text, empty where it is null."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise invalid(path, "Input should be a valid string")
    return value


def flag_of(value: Any, path: str) -> bool:
    """A truth value, False where it is null."""
    if value is not None and not isinstance(value, bool):
        raise invalid(path, "Input should be a valid boolean")
    return bool(value)


def object_of(value: Any, path: str) -> Mapping[str, Any]:
    """An object, empty where it is null."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(path, "Input should be an object")
    return value


def list_of(value: Any, path: str, most: int) -> Sequence[Any]:
    """A list of at most `most` entries, empty where it is null."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise invalid(path, "Input should be a valid list")
    if len(value) > most:
        raise invalid(path, f"List should have at most {most} items")
    return value


def objects_of(value: Any, path: str, most: int) -> Sequence[Mapping[str, Any]]:
    """A list of objects, empty where it is null."""
    entries = list_of(value, path, most)
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise invalid(f"{path}.{index}", "Input should be an object")
    return entries


def number_of(value: Any, path: str, least: float, most: float) -> float | None:
    """A number between these bounds, None where it is null."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid(path, "Input should be a valid number")
    if not least <= value <= most:
        raise invalid(path, f"Input should be from {least:g} to {most:g}")
    return value


def whole_number_of(value: Any, path: str, least: int, most: int = TOKENS_MAX) -> int | None:
    """A whole number between these bounds, None where it is null."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid(path, "Input should be a valid integer")
    if value < least:
        raise invalid(path, f"Input should be greater than or equal to {least}")
    if value > most:
        raise invalid(path, f"Input should be less than or equal to {most}")
    return value
