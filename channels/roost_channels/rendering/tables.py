"""Rows of tables with more bars than columns: what they say stays, none of it is dropped."""

import re
from collections import Counter
from collections.abc import Sequence

from markdown_it.rules_block import StateBlock
from markdown_it.rules_block import table as library_table
from markdown_it.token import Token

_PARTS = re.compile(r"\\\||`+|\||[^\\`|]+|\\")


def table(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Read a table: a rule of the parser, in the place of the library's own."""
    first = len(state.tokens)
    if not library_table(state, start, end, silent):
        return False
    row: list[Token] = []
    for token in state.tokens[first:]:
        if token.type == "tr_open":
            row = []
        elif token.type == "inline":
            row.append(token)
        elif token.type == "tr_close" and row and row[0].map:
            _complete(row, line_at(state, row[0].map[0]))
    return True


def line_at(state: StateBlock, number: int) -> str:
    """A line of the text, without the blanks around it."""
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]].strip()


def _complete(row: Sequence[Token], line: str) -> None:
    """Give the cells of a row what the library left out: bars inside of code part no cells, and
    what is still too much stands in the last one.
    """
    columns = len(row)
    if line.count("|") < columns:
        return
    cells = _cells(line, has_code=False)
    if len(cells) <= columns:
        return
    by_code = _cells(line, has_code=True)
    cells = by_code if len(by_code) >= columns else cells
    whole = [*cells[: columns - 1], " | ".join(cells[columns - 1 :])]
    for token, cell in zip(row, whole, strict=True):
        token.content = cell


def _cells(line: str, *, has_code: bool) -> list[str]:
    """The cells of a line, without the blanks around them. has_code: bars inside of code are
    characters.
    """
    parts = _PARTS.findall(line)
    rest = Counter(len(part) for part in parts if part[0] == "`")
    cells, cell, fence = [], "", 0
    for part in parts:
        if part == "|" and not fence:
            cells.append(cell.strip())
            cell = ""
            continue
        cell += "|" if part == r"\|" else part
        if has_code and part[0] == "`":
            rest[len(part)] -= 1
            if fence == len(part):
                fence = 0
            elif not fence and rest[len(part)]:
                fence = len(part)
    cells.append(cell.strip())
    while cells and not cells[-1]:
        cells.pop()
    return cells[1:] if line.startswith("|") else cells
