"""Tables for people on a terminal; lines with tabs for programs that read a pipe."""

import sys
import time
from collections.abc import Sequence

from roost_platform.terminal import harmless

# A cell that is a state, and its colour.
COLOURS = {
    **dict.fromkeys(("ok", "up"), "green"),
    "warning": "yellow",
    **dict.fromkeys(("broken", "down"), "red"),
}


def show(empty: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print the rows. On a pipe each row is one line, as long as it is, with tabs between cells.

    empty: printed in place of no rows. The first column holds names or ids: it is never split.
    """
    if not rows and empty:
        print(empty)
        return
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            print("\t".join(_one_line(cell) for cell in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="dim", pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=index == 0)
    for row in rows:
        table.add_row(*(Text(harmless(cell), style=COLOURS.get(cell, "")) for cell in row))
    Console().print(table)


def ago(at: float | None) -> str:
    """Return how long ago a time is, or how long until then; empty for none."""
    if at is None:
        return ""
    seconds = int(time.time() - at)
    if seconds < 0:
        return f"in {_span(-seconds)}"
    return f"{_span(seconds)} ago"


def _span(seconds: int) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _one_line(cell: str) -> str:
    return harmless("; ".join(" ".join(line.split("\t")) for line in cell.splitlines()))
