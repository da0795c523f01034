"""Which marks open and close a style: at the borders of words, never inside of addresses."""

import re
from typing import Final

from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Delimiter

from roost_channels.rendering.words import (
    DELIMITERS,
    addresses,
    ends_word,
    is_ascii_word,
    is_punctuation,
    is_wide,
    starts_word,
)

_KEY: Final = "line"
# Marks of several kinds in a row that are read together; a longer row is no style.
CLUSTER_MAX: Final = 16
LETTERS_MAX: Final = 64  # of a word that has a style inside
_DUNDER = re.compile(r"_{2,}[A-Za-z0-9]+(?:_[A-Za-z0-9]+)*_{2,}(?![A-Za-z0-9_])")
_LETTERS = re.compile(r"[A-Za-z]*(?:\*\*[A-Za-z]+\*\*[A-Za-z]*)+")


class Line:
    """What is looked up again and again in one line of inlines."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.inside: dict[int, bool] = {}  # places of marks in addresses: whether at the end
        for start, end in addresses(text):
            tail = end
            while tail > start and text[tail - 1] in "*_~.,;:!?)]}'":
                tail -= 1
            for place in range(start, end):
                if text[place] in DELIMITERS:
                    self.inside[place] = place >= tail
        self._last: dict[str, int] = {}
        self._first: dict[str, int] = {}

    def last(self, what: str) -> int:
        """Where it comes last; -1 for nowhere."""
        if what not in self._last:
            self._last[what] = self.text.rfind(what)
        return self._last[what]

    def first(self, what: str) -> int:
        """Where it comes first; -1 for nowhere."""
        if what not in self._first:
            self._first[what] = self.text.find(what)
        return self._first[what]


def line_of(state: StateInline) -> Line:
    """What is known about the line that the parser reads."""
    line = state.env.get(_KEY)
    if not isinstance(line, Line) or line.text is not state.src:
        line = Line(state.src)
        state.env[_KEY] = line
    return line


def style(state: StateInline, silent: bool) -> bool:
    """Read a row of `*` or `_`: a rule of the parser, which asks silently what it would skip."""
    start, text = state.pos, state.src
    mark = text[start]
    if silent or mark not in "*_":
        return False
    end = _run_end(text, start, state.posMax)
    if mark == "_" and end - start > 1 and text[start - 1 : start] not in ("*", "~"):
        name = _DUNDER.match(text, start, state.posMax)
        if name is not None:  # an identifier such as __init__
            state.append_pending(name.group())
            state.pos = name.end()
            return True
    _push_marks(state, mark, [mark] * (end - start), end)
    return True


def strike(state: StateInline, silent: bool) -> bool:
    """Read a row of `~`, two or more: a rule of the parser."""
    start, text = state.pos, state.src
    if silent or text[start] != "~":
        return False
    end = _run_end(text, start, state.posMax)
    if end - start < 2:
        return False
    if (end - start) % 2:
        state.push("text", "", 0).content = "~"
    _push_marks(state, "~", ["~~"] * ((end - start) // 2), end)
    return True


def _run_end(text: str, start: int, most: int) -> int:
    end = start
    while end < most and text[end] == text[start]:
        end += 1
    return end


def _push_marks(state: StateInline, mark: str, marks: list[str], end: int) -> None:
    """Push the marks of a run as texts that balancing may turn into styles."""
    opens, closes = _flanks(state, state.pos, end, mark)
    for content in marks:
        state.push("text", "", 0).content = content
        if opens or closes:
            state.delimiters.append(
                Delimiter(
                    marker=ord(mark),
                    length=0 if mark == "~" else len(marks),  # 0: without the rule of three
                    token=len(state.tokens) - 1,
                    end=-1,
                    open=opens,
                    close=closes,
                )
            )
    state.pos = end


def _flanks(state: StateInline, start: int, end: int, mark: str) -> tuple[bool, bool]:
    """Whether a run of marks may open and close a style."""
    text, most = state.src, state.posMax
    before = text[start - 1] if start else ""
    after = text[end] if end < most else ""
    blank_before, blank_after = not before or before.isspace(), not after or after.isspace()
    # East Asian punctuation counts as a letter: no blank separates it from the words.
    mark_before = is_punctuation(before) and not is_wide(before)
    mark_after = is_punctuation(after) and not is_wide(after)
    left = not blank_after and (not mark_after or blank_before or mark_before or is_wide(before))
    right = not blank_before and (not mark_before or blank_after or mark_after or is_wide(after))
    opens, closes = left, right
    if mark == "_":
        opens = left and (not right or is_punctuation(before) or _is_wide_mark(after))
        closes = right and (not left or is_punctuation(after) or _is_wide_mark(before))
    if not (opens or closes):
        return False, False
    inside = line_of(state).inside.get(start)
    low, high = _cluster(text, start, end, most)
    if low < 0 or _stands_alone(text, low, high, most):
        return False, False
    if low and high < most and is_ascii_word(text[low - 1]) and is_ascii_word(text[high]):
        in_word = mark == "*" and end - start == 2 and _is_styled_word(text, start, most)
        return in_word and inside is None, in_word and inside is None
    opens = opens and inside is None and _may_open(text, low, mark, end - start)
    closes = closes and inside is not False and _may_close(text, high, most, mark)
    return opens, closes


def _stands_alone(text: str, low: int, high: int, most: int) -> bool:
    """Whether marks are a note or a power, and style nothing: `(*)`, `C_{*}`, `f^*(x)`."""
    before, after = text[low - 1 : low], text[high : min(high + 1, most)]
    return before == "^" or f"{before}{after}" in ("()", "[]", "{}")


def _is_wide_mark(character: str) -> bool:
    return is_wide(character) and is_punctuation(character)


def _cluster(text: str, start: int, end: int, most: int) -> tuple[int, int]:
    """The marks of all kinds around a run, read as one; (-1, -1) for too many."""
    low, high = start, end
    while low and text[low - 1] in DELIMITERS and start - low <= CLUSTER_MAX:
        low -= 1
    while high < most and text[high] in DELIMITERS and high - end <= CLUSTER_MAX:
        high += 1
    return (low, high) if max(start - low, high - end) <= CLUSTER_MAX else (-1, -1)


def _may_open(text: str, place: int, mark: str, length: int) -> bool:
    """Whether marks whose cluster begins at `place` stand at the beginning of words."""
    if starts_word(text, place):
        return True
    before = text[place - 1]
    if mark == "_" or is_ascii_word(before):
        return False
    if before == "/":
        return place > 1 and text[place - 2] in DELIMITERS  # **yes**/**no**
    return before not in ("\\@" if length > 1 else ".\\@")


def _may_close(text: str, place: int, most: int, mark: str) -> bool:
    """Whether marks whose cluster ends at `place` stand at the end of words."""
    if ends_word(text, place, most):
        return True
    after = text[place]
    if mark == "_" or is_ascii_word(after):
        return False
    if after == "/":
        return place + 1 < most and text[place + 1] in DELIMITERS
    return after not in ".\\@"


def _is_styled_word(text: str, place: int, most: int) -> bool:
    """Whether the marks stand in a word of letters that is bold in part, such as in**side**."""
    low, high = place, place
    while low and (text[low - 1] == "*" or (text[low - 1].isalpha() and text[low - 1].isascii())):
        low -= 1
        if place - low > LETTERS_MAX:
            return False
    while high < most and (text[high] == "*" or (text[high].isalpha() and text[high].isascii())):
        high += 1
        if high - place > LETTERS_MAX:
            return False
    is_whole = starts_word(text, low) and ends_word(text, high, most)
    return is_whole and _LETTERS.fullmatch(text, low, high) is not None
