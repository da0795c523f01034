"""Text that every database accepts."""

from collections.abc import Mapping
from typing import Any


def clean(value: Any) -> Any:
    """The value without what databases refuse in text: NUL and lone surrogates, at any depth."""
    if isinstance(value, str):
        if value.isascii() and "\x00" not in value:
            return value
        return value.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {clean(str(key)): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value
