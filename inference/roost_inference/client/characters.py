"""Puts characters together whose halves an engine sent apart, as UTF-16 counts them."""

import re
from typing import Final

_HALF: Final = re.compile("[\ud800-\udfff]")
_FIRST: Final = ("\ud800", "\udbff")


def split_half(text: str) -> tuple[str, str]:
    """The text, and its last character where that is a first half whose second is still to come."""
    is_half = bool(text) and _FIRST[0] <= text[-1] <= _FIRST[1]
    return (text[:-1], text[-1]) if is_half else (text, "")


def whole(text: str) -> str:
    """The text with its halves joined; a half that is alone becomes U+FFFD."""
    if not _HALF.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
