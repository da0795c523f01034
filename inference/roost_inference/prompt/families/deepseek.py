"""DeepSeek-R1's tool calls: a name and JSON in a code block, between tokens of their own."""

import json
import re
from collections.abc import Sequence

from roost_inference.prompt.call_markup import CallMarkup, CallParser, Markers, ParsedCall
from roost_inference.prompt.families.json_text import BrokenMarkup, ObjectEnd, arguments_of
from roost_inference.prompt.families.opened_calls import OpenedCallParser
from roost_inference.wire.ids import call_id


def _token(words: str) -> str:
    """A control token: fullwidth bars, and SentencePiece's sign for a space."""
    return f"<\uff5c{words.replace(' ', chr(0x2581))}\uff5c>"


CALLS_BEGIN, CALLS_END = _token("tool calls begin"), _token("tool calls end")
CALL_BEGIN, CALL_END = _token("tool call begin"), _token("tool call end")
SEPARATOR = _token("tool sep")
HEAD_CHARACTERS_MAX = 512

_HEAD = re.compile(
    rf"\s*{CALL_BEGIN}\s*function\s*{SEPARATOR}\s*([A-Za-z0-9_.:/-]{{1,128}})"
    r"\s*```(?:json)?[ \t]*\n"
)
_END = re.compile(rf"\s*```\s*{CALL_END}")


class DeepSeekCalls(CallMarkup):
    """All calls between two tokens, each between two others."""

    opening = CALLS_BEGIN
    parts = (CALLS_BEGIN, CALLS_END, CALL_BEGIN, CALL_END, SEPARATOR)
    tail = " done"

    def rules(self, names: Sequence[str], markers: Markers) -> list[str]:
        """See CallMarkup."""
        calls = [
            f"{json.dumps(f'{name}{chr(10)}```json{chr(10)}')} arguments_{number}"
            for number, name in enumerate(names)
        ]
        return [
            f"open: {markers.literal(CALLS_BEGIN)}",
            f'call: {markers.literal(CALL_BEGIN)} "function" {markers.literal(SEPARATOR)} '
            f'({" | ".join(calls)}) "\\n```" {markers.literal(CALL_END)}',
            'more: "\\n" call',
            f"done: {markers.literal(CALLS_END)}",
        ]

    def parser(self, names: frozenset[str]) -> CallParser:
        """See CallMarkup."""
        return OpenedCallParser(CALLS_BEGIN, _Reader)


class _Reader:
    """Reads the calls behind the opening."""

    def __init__(self) -> None:
        self._end = ObjectEnd()
        self._count = 0

    @property
    def may_end(self) -> bool:
        """Models leave the last token out when the answer ends."""
        return self._count > 0

    def take(self, text: str) -> tuple[ParsedCall | None, int] | None:
        """See CallReader."""
        bare = text.lstrip()
        if self._count and bare.startswith(CALLS_END):
            return None, len(text) - len(bare) + len(CALLS_END)
        head = _HEAD.match(text)
        if head is None:
            wanted = (CALL_BEGIN, CALLS_END) if self._count else (CALL_BEGIN,)
            may_come = any(one.startswith(bare) or bare.startswith(CALL_BEGIN) for one in wanted)
            if not may_come or len(text) > HEAD_CHARACTERS_MAX:
                raise BrokenMarkup
            return None
        start = head.end()
        end = self._end.find(text, start)
        if end is None:
            return None
        tail = _END.match(text, end)
        if tail is None:
            if len(text) - end > len(CALL_END) + 32:
                raise BrokenMarkup
            return None
        arguments = arguments_of(text[start:end].strip())
        self._end, self._count = ObjectEnd(), self._count + 1
        return ParsedCall(call_id(), head[1], arguments), tail.end()
