"""DeepSeek's tool calls: a name and JSON between tokens of their own.

R1 writes the JSON in a code block. V3.1 writes it bare; its template declares no tools, so they
are put into the system message in the words that its authors give.
"""

import json
import re
from collections.abc import Callable, Sequence
from functools import partial

from roost_inference.prompt.call_markup import (
    CallMarkup,
    CallParser,
    Markers,
    ParsedCall,
    Signature,
)
from roost_inference.prompt.families.json_text import BrokenMarkup, ObjectEnd, arguments_of
from roost_inference.prompt.families.opened_calls import OpenedCallParser
from roost_inference.wire.ids import call_id
from roost_inference.wire.message import FunctionTool


def _token(words: str) -> str:
    """A control token: fullwidth bars, and SentencePiece's sign for a space."""
    return f"<\uff5c{words.replace(' ', chr(0x2581))}\uff5c>"


CALLS_BEGIN, CALLS_END = _token("tool calls begin"), _token("tool calls end")
CALL_BEGIN, CALL_END = _token("tool call begin"), _token("tool call end")
SEPARATOR = _token("tool sep")
HEAD_CHARACTERS_MAX = 512

_NAME = r"([A-Za-z0-9_.:/-]{1,128})"
_CODE_HEAD = re.compile(
    rf"\s*{CALL_BEGIN}\s*function\s*{SEPARATOR}\s*{_NAME}\s*```(?:json)?[ \t]*\n"
)
_CODE_END = re.compile(rf"\s*```\s*{CALL_END}")
_BARE_HEAD = re.compile(rf"\s*{CALL_BEGIN}\s*{_NAME}\s*{SEPARATOR}\s*(?=\{{)")
_BARE_END = re.compile(rf"\s*{CALL_END}")

_BLOCK = f"""## Tools
You have access to the following tools:

{{tools}}

IMPORTANT: ALWAYS adhere to this exact format for tool use:
{CALLS_BEGIN}{CALL_BEGIN}tool_call_name{SEPARATOR}tool_call_arguments{CALL_END}\
{{{{additional_tool_calls}}}}{CALLS_END}

Where:
- `tool_call_name` must be an exact match to one of the available tools
- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema
- For multiple tool calls, chain them directly without separators or spaces"""


class DeepSeekCalls(CallMarkup):
    """All calls between two tokens, each between two others; in_code: the JSON is a code block."""

    opening = CALLS_BEGIN
    parts = (CALLS_BEGIN, CALLS_END, CALL_BEGIN, CALL_END, SEPARATOR)
    tail = " done"

    def __init__(self, *, in_code: bool) -> None:
        self._in_code = in_code

    def rules(self, functions: Sequence[Signature], markers: Markers) -> list[str]:
        """See CallMarkup."""
        begin, separator, end = map(markers.literal, (CALL_BEGIN, SEPARATOR, CALL_END))
        if self._in_code:
            heads = [json.dumps(f"{function.name}\n```json\n") for function in functions]
            head, tail, more = f'{begin} "function" {separator}', f'"\\n```" {end}', '"\\n" call'
        else:
            heads = [f"{json.dumps(function.name)} {separator}" for function in functions]
            head, tail, more = begin, end, "call"
        calls = [f"{name} arguments_{number}" for number, name in enumerate(heads)]
        return [
            f"open: {markers.literal(CALLS_BEGIN)}",
            f"call: {head} ({' | '.join(calls)}) {tail}",
            f"more: {more}",
            f"done: {markers.literal(CALLS_END)}",
        ]

    def parser(self, functions: Sequence[Signature]) -> CallParser:
        """See CallMarkup."""
        head, end = (_CODE_HEAD, _CODE_END) if self._in_code else (_BARE_HEAD, _BARE_END)
        return OpenedCallParser(CALLS_BEGIN, partial(_Reader, head, end))


def declared(functions: Sequence[FunctionTool], mask: Callable[[str], str]) -> str:
    """The part of a system message that declares functions to V3.1. mask: makes texts of others
    such that they are no control tokens."""
    return _BLOCK.format(
        tools="\n\n".join(
            f"### {each.name}\nDescription: {mask(each.description)}\n\n"
            f"Parameters: {mask(json.dumps(each.parameters, ensure_ascii=False))}"
            for each in functions
        )
    )


class _Reader:
    """Reads the calls behind the opening."""

    def __init__(self, head: re.Pattern[str], tail: re.Pattern[str]) -> None:
        self._head, self._tail = head, tail
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
        head = self._head.match(text)
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
        tail = self._tail.match(text, end)
        if tail is None:
            if len(text) - end > len(CALL_END) + 32:
                raise BrokenMarkup
            return None
        arguments = arguments_of(text[start:end].strip())
        self._end, self._count = ObjectEnd(), self._count + 1
        return ParsedCall(call_id(), head[1], arguments), tail.end()
