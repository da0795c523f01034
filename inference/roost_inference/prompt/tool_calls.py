"""Splits generated text into text and tool calls; the reader never sees the markup of calls."""

import json
import re
from collections.abc import Iterator

from roost_inference.prompt.call_markup import CALL_CLOSE, CALL_OPEN, ParsedCall
from roost_inference.wire.ids import call_id

# The one form the grammar allows; the arguments are what follows, to the byte.
_HEAD = re.compile(r'\s*\{"name": (?P<name>"(?:[^"\\]|\\.)*"), "arguments": ')
_DECODER = json.JSONDecoder()


class ToolCallParser:
    """Takes text as it is generated; gives plain text and whole calls, in order.

    White space before and after a call is dropped. Other text comes out as soon as it can't be the
    beginning of a call. A call that the end cuts off does not come out: `truncated` is set. One
    that the model itself does not finish is text.
    """

    def __init__(self) -> None:
        self._held = ""
        self._in_call = False
        self._after_call = False
        self._searched = 0
        self.truncated = False

    def feed(self, text: str) -> Iterator[str | ParsedCall]:
        """Take generated text; gives what is certain by now, in order."""
        self._held += text
        while True:
            if self._in_call:
                call = self._take_call()
                if call is None:
                    return
                yield call
            else:
                ready = self._take_text()
                if ready:
                    yield ready
                if not self._in_call:
                    return

    def finish(self, *, cut_off: bool) -> list[str | ParsedCall]:
        """See CallParser."""
        rest, self._held = self._held, ""
        if self._in_call and cut_off:
            self.truncated = True
            return []
        if self._in_call:
            return [CALL_OPEN + rest]
        if cut_off and (begun := _begun(rest)):
            self.truncated = True
            rest = rest[:-begun]
        return [] if not rest or (self._after_call and not rest.strip()) else [rest]

    def _take_text(self) -> str:
        """Text that is certain; moves into the call if one opens."""
        if self._after_call:
            self._held = self._held.lstrip()
        start = self._held.find(CALL_OPEN)
        if start >= 0:
            ready = self._held[:start].rstrip()
            self._held = self._held[start + len(CALL_OPEN) :]
            self._in_call, self._searched = True, 0
            return ready
        certain = len(self._held[: len(self._held) - _begun(self._held)].rstrip())
        ready, self._held = self._held[:certain], self._held[certain:]
        if ready:
            self._after_call = False
        return ready

    def _take_call(self) -> ParsedCall | None:
        """The call up to a closing tag that is not inside a string; None while there is none."""
        while (end := self._held.find(CALL_CLOSE, self._searched)) >= 0:
            call = _parse(self._held[:end])
            if call is None:
                self._searched = end + 1
                continue
            self._held = self._held[end + len(CALL_CLOSE) :]
            self._in_call, self._after_call = False, True
            return call
        self._searched = max(self._searched, len(self._held) - len(CALL_CLOSE))
        return None


def _begun(text: str) -> int:
    """Length of the longest end of `text` that begins the opening tag."""
    for length in range(min(len(CALL_OPEN) - 1, len(text)), 0, -1):
        if CALL_OPEN.startswith(text[-length:]):
            return length
    return 0


def _parse(text: str) -> ParsedCall | None:
    head = _HEAD.match(text)
    if head is None:
        return None
    try:
        _, end = _DECODER.raw_decode(text, head.end())
    except (ValueError, RecursionError):  # of brackets in brackets without end
        return None
    if text[end:].strip() != "}":
        return None
    return ParsedCall(call_id(), json.loads(head["name"]), text[head.end() : end])
