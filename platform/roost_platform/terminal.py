"""Texts of others on a terminal: what would give it orders is shown instead of sent.

People, models and providers write names, answers and errors. An escape sequence in one sets the
title, moves the cursor over what was said, or writes to the clipboard of whoever reads it.
"""

import re
import sys
from typing import TextIO

# Controls but tabs and line ends, and marks of direction, which reorder what is read.
_ORDERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def harmless(text: str) -> str:
    """The text with every control as a picture of it, such as `␛`, or as its number."""
    return _ORDERS.sub(lambda found: _picture(ord(found[0])), text)


def for_stream(text: str, stream: TextIO | None = None) -> str:
    """The text as it may be printed there: exact in a file or a pipe, harmless on a terminal.

    stream: stdout by default.
    """
    return harmless(text) if (stream or sys.stdout).isatty() else text


def _picture(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"\\u{code:04x}"
