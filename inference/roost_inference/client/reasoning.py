"""Takes a model's reasoning out of the text of its answer, as it streams.

The rule:

* A reasoning block at the beginning of the answer is reasoning, also without its end.
* Further on, a tag counts only at the beginning of a line, outside code, and only if its end
  comes. So a code example with `<think>` stays, and so does a tag that an answer mentions.
* Where no block was opened, a closing tag outside code says that the prompt opened it: all before
  it is reasoning. One within quotation marks or backticks is a mention.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

from roost_inference.client.reasoning_tags import (
    END,
    HARMONY,
    KINDS,
    MARKS,
    START,
    TAG_CHARACTERS_MAX,
    may_be_tag,
)

BLANKS_MAX: Final = 1000  # before an answer, in which a tag is waited for
# What may be a tag, and what says that one is code. A row of backticks is taken whole.
_SPOT: Final = re.compile(r"\n|`+|~{3,}|[<\[◁]")
_FENCE_MIN: Final = 3
_QUOTES: Final = frozenset("'\"`“”‘’«»")  # noqa: RUF001


@dataclass(frozen=True, slots=True)
class Visible:
    """New text of the answer. `replaces`: all text before it was reasoning after all."""

    text: str
    replaces: bool = False


class ReasoningFilter:
    """Fed with the pieces of an answer, it gives the text that people may see.

    opening: the tag of a block that the prompt has opened already, empty where it has not.
    """

    def __init__(self, opening: str = "") -> None:
        self.reasoning: list[str] = []
        self._held = ""
        self._state: Literal["start", "reasoning", "answer", "aside"] = "start"
        self._kind = next((kind for kind in KINDS if kind.opens.match(opening)), KINDS[0])
        self._is_open = bool(opening)
        self._was_opened = False
        self._line_start = True
        self._fence = ""
        self._code = ""
        self._searched = 0
        self._last = ""  # the character before `_held`
        self._aside = ""  # the opening tag of a block in the middle, should its end not come
        self._late_end: tuple[int, int] | None = None  # of a closing tag inside an open fence
        self._shown: list[str] = []
        self._length = 0

    def feed(self, piece: str, *, is_last: bool = False) -> Visible:
        """The visible text in this piece, and in what was held back before it."""
        if self.passes(piece):
            return Visible(piece)
        self._held += piece  # short, but for a block in the middle
        out: list[str] = []
        replaces = False
        while True:
            before = (self._state, len(self._held))
            if self._state == "start":
                self._at_start(out, is_last)
            elif self._state == "reasoning" or self._state == "aside":
                self._in_block(is_last)
            elif self._in_answer(out, is_last):
                replaces = True
                out.clear()
            if before == (self._state, len(self._held)):
                break
        text = "".join(out)
        if replaces:
            self._shown.clear()
        self._shown.append(text)
        return Visible(text, replaces)

    def passes(self, piece: str) -> bool:
        """Whether this piece was taken: none of it can be a tag or code. Else it has to be fed."""
        if self._state != "answer" or self._held or not piece or _SPOT.search(piece):
            return False
        self._line_start = self._line_start and piece.isspace()
        self._last = piece[-1]
        self._length += len(piece)
        self._shown.append(piece)
        return True

    def end(self) -> Visible:
        """What is still held back, when nothing more comes."""
        last = self.feed("", is_last=True)
        if self._state == "aside":  # its end never came: it is a part of the answer
            text, self._held, self._state = self._aside + self._held, "", "answer"
            self._shown.append(text)
            last = Visible(last.text + text, last.replaces)
        if self._late_end is not None and self._fence and not self._was_opened:
            # The closing tag stood in a fence that never closed: the fence was the reasoning's.
            start, stop = self._late_end
            whole = "".join(self._shown)
            self.reasoning.append(whole[:start])
            return Visible(whole[stop:].lstrip(), replaces=True)
        return last

    def _at_start(self, out: list[str], is_last: bool) -> None:
        stripped = self._held.lstrip()
        if stripped and stripped[0] not in "<[◁":  # no tag begins like this
            self._begin_answer(stripped)
            return
        if stripped.startswith(START) and len(stripped) < len(START) + 9 and not is_last:
            return  # `assistant` may follow
        if mark := MARKS.match(stripped):
            self._held = stripped[mark.end() :]
            return
        for kind in KINDS:
            if found := kind.opens.match(stripped):
                self._kind, self._state, self._was_opened = kind, "reasoning", True
                self._held = stripped[found.end() :]
                self._is_open = False
                return
        if self._was_opened:
            self._held = stripped
        is_blank = not stripped and len(self._held) < BLANKS_MAX
        if not is_last and (is_blank or (stripped and may_be_tag(stripped))):
            return
        self._begin_answer(stripped)

    def _begin_answer(self, stripped: str) -> None:
        """No tag stands at the beginning. stripped: what is held, without blanks before it."""
        if self._was_opened:
            self._held = stripped
        if self._is_open:
            self._is_open, self._was_opened, self._state = False, True, "reasoning"
            return
        self._state, self._line_start = "answer", True

    def _in_block(self, is_last: bool) -> None:
        found = self._kind.ends.search(self._held, self._searched)
        self._searched = 0
        if found is not None:
            self.reasoning.append(self._held[: found.start()])
            self._held = self._held[found.end() :]
            if self._state == "aside":
                self._aside, self._state = "", "answer"
            else:
                self._state = "start"
        elif self._state == "aside":
            # Kept whole, because it may be the answer's. What was searched is not searched again.
            self._searched = max(len(self._held) - TAG_CHARACTERS_MAX, 0)
        elif is_last:
            self.reasoning.append(self._held)
            self._held = ""
        elif len(self._held) > TAG_CHARACTERS_MAX:
            self.reasoning.append(self._held[:-TAG_CHARACTERS_MAX])
            self._held = self._held[-TAG_CHARACTERS_MAX:]

    def _in_answer(self, out: list[str], is_last: bool) -> bool:
        """Move what is decided from `_held` to `out`; True if all before it was reasoning."""
        at = 0
        held = self._held
        while (spot := _SPOT.search(held, at)) is not None:
            start, stop = spot.span()
            self._line_start = self._line_start and not held[at:start].strip()
            first = held[start]
            if first == "\n":
                self._code, self._line_start = "", True
            elif first in "`~":
                if stop == len(held) and not is_last and stop - start < TAG_CHARACTERS_MAX:
                    break  # the row may go on
                self._pass_code(spot[0])
            else:
                rest = held[start : start + TAG_CHARACTERS_MAX * 2]
                before = held[start - 1] if start else self._last
                tag = self._tag(rest, before)
                end = END.match(rest)
                is_at_edge = end is not None and start + end.end() == len(held)
                if is_at_edge and before in _QUOTES and not is_last:
                    break  # the next character tells whether it is quoted
                if tag == "ends" and end is not None:
                    self.reasoning += [*self._shown, *out, held[:start]]
                    self._was_opened = True
                    self._held, self._state = held[start + end.end() :], "start"
                    self._length = 0
                    return True
                if tag == "opens" or tag == "mark":
                    self._move(out, start)
                    self._begin_aside(rest)
                    return False
                if not is_last and len(held) - start < TAG_CHARACTERS_MAX and may_be_tag(rest):
                    break
                if end and self._fence and self._late_end is None:
                    place = self._length + start
                    self._late_end = (place, place + end.end())
                self._line_start = False
            at = stop
        else:
            start = len(held)
            self._line_start = self._line_start and not held[at:].strip()
        self._move(out, start)
        return False

    def _move(self, out: list[str], length: int) -> None:
        """The first `length` characters of `_held` are a part of the answer."""
        if length:
            out.append(self._held[:length])
            self._last = self._held[length - 1]
            self._length += length
            self._held = self._held[length:]

    def _begin_aside(self, rest: str) -> None:
        if mark := MARKS.match(rest):
            self._held = self._held[mark.end() :]
            return
        for kind in KINDS:
            if found := kind.opens.match(rest):
                self._kind, self._state, self._aside = kind, "aside", found[0]
                self._held = self._held[found.end() :]
                return

    def _tag(self, rest: str, before: str) -> Literal["", "opens", "ends", "mark"]:
        if self._fence or self._code:
            return ""
        if MARKS.match(rest) and self._kind.opens is HARMONY:
            return "mark"
        if self._line_start and any(kind.opens.match(rest) for kind in KINDS):
            return "opens"
        end = None if self._was_opened else END.match(rest)
        if end is None:
            return ""
        is_quoted = before in _QUOTES and rest[end.end() : end.end() + 1] in _QUOTES
        return "" if is_quoted else "ends"

    def _pass_code(self, run: str) -> None:
        """Note that code begins or ends with this row of backticks or tildes."""
        if self._fence:
            is_end = self._line_start and run[0] == self._fence[0] and len(run) >= len(self._fence)
            self._fence = "" if is_end else self._fence
        elif self._line_start and len(run) >= _FENCE_MIN:
            self._fence = run
        elif run[0] == "`" and not self._code:
            self._code = run
        elif run == self._code:
            self._code = ""
        self._line_start = False


def open_block(prompt: str) -> str:
    """The tag with which a prompt ends, so that its answer begins with reasoning; else empty."""
    end = prompt[-2 * TAG_CHARACTERS_MAX :].rstrip()
    for kind in KINDS:
        for found in kind.opens.finditer(end):
            if found.end() == len(end):
                return found[0]
    return ""


def split_reasoning(text: str) -> tuple[str, str]:
    """The answer and the reasoning of a whole text."""
    parts = ReasoningFilter()
    first, last = parts.feed(text), parts.end()
    return last.text if last.replaces else first.text + last.text, "".join(parts.reasoning)
