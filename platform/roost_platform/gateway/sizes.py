"""The size of texts inside of JSON values, and of prompts."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PromptSize:
    """What the tokens of a prompt depend on. bytes: UTF-8, of all texts; n: answers asked for.

    writes_cache: whether it marks what the provider shall keep, which some charge more for.
    """

    bytes: int = 0
    messages: int = 0
    images: int = 0
    n: int = 1
    writes_cache: bool = False


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
