"""Texts for a table that a spreadsheet opens."""

from typing import Final

FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # how texts begin that it would compute
DASH: Final = "-"  # alone it stands for nothing


def cell(text: str) -> str:
    """The text, with an apostrophe before one that would be computed: clients choose some names."""
    return f"'{text}" if text.startswith(FORMULA) and text != DASH else text
