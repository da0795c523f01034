"""Formulas in TeX: between their own marks every character is a character, so that `f^*(x)` keeps
its star and a line that begins with a minus begins no list.
"""

import re
from typing import Final

from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline

from roost_channels.rendering.tables import line_at

LINES_MAX: Final = 100  # of one formula
CODE_INDENT: Final = 4  # blanks that make a block of code
_PIECE: Final = r"[^`\\]|\\\\|\\(?![()\[\]])"
_PIECES: Final = rf"(?:{_PIECE}){{1,2000}}+"
# Each ends at the next mark of its kind: a row of marks that open is read once.
_MARKED: Final = re.compile(rf"\$\$[^`$]{{1,2000}}+\$\$|\\\({_PIECES}\\\)|\\\[{_PIECES}\\\](?!\()")
_INLINE: Final = re.compile(r"\$(?=\S)[^`$\n]{1,400}+(?<=[^\s\\])\$(?!\d)")
# Without one of these, two dollars are two prices.
_TEX: Final = re.compile(r"[\^_]|\\[A-Za-z]")
_DISPLAYED: Final = {"$$": "$$", "\\[": "\\]"}


def formula(state: StateInline, silent: bool) -> bool:
    """Read a formula as plain words: a rule of the parser."""
    text, start = state.src, state.pos
    if text[start] not in "$\\":
        return False
    found = _MARKED.match(text, start, state.posMax)
    if found is None:
        found = _INLINE.match(text, start, state.posMax)
        if found is None or _TEX.search(found.group()) is None:
            return False
    if not silent:
        for number, line in enumerate(found.group().split("\n")):
            if number:
                state.push("softbreak", "br", 0)
            state.push("text", "", 0).content = line
    state.pos = found.end()
    return True


def display(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Read a formula of several lines as a paragraph of its own: a rule of the parser."""
    opening = line_at(state, start)
    closer = _DISPLAYED.get(opening[:2])
    if closer is None or closer in opening[2:]:
        return False
    if state.sCount[start] - state.blkIndent >= CODE_INDENT:
        return False
    for last in range(start + 1, min(end, start + LINES_MAX)):
        line = line_at(state, last)
        if state.isEmpty(last) or state.sCount[last] < state.blkIndent:
            return False
        if closer in line:
            break
        if opening[:2] in line:
            return False
    else:
        return False
    if silent:
        return True
    state.line = last + 1
    state.push("paragraph_open", "p", 1).map = [start, state.line]
    inline = state.push("inline", "", 0)
    inline.content = state.getLines(start, state.line, state.blkIndent, False).strip()
    inline.map, inline.children = [start, state.line], []
    state.push("paragraph_close", "p", -1)
    return True
