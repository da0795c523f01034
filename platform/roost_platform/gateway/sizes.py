"""The size of texts inside of JSON values."""

from typing import Any


def text_bytes(value: Any) -> int:
    """UTF-8 bytes of all texts in a value; pictures in data addresses count as nothing."""
    size = 0
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, str):
            if not one.startswith("data:"):
                size += len(one) if one.isascii() else len(one.encode(errors="replace"))
        elif isinstance(one, dict):
            pending.extend(one.values())
        elif isinstance(one, list | tuple):
            pending.extend(one)
    return size
