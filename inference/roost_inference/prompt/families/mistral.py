"""Mistral's tool calls: a JSON list behind `[TOOL_CALLS]`, or name and arguments by themselves.

Nemo and its time write `[TOOL_CALLS][{"name": …, "arguments": {…}, "id": "…"}]`, since late 2024
each call is `[TOOL_CALLS]name[ARGS]{…}`, for a while with `[CALL_ID]id` between the two.
"""

import json
import re
from collections.abc import Sequence

from roost_inference.prompt.call_markup import (
    CallMarkup,
    CallParser,
    Markers,
    ParsedCall,
    Signature,
)
from roost_inference.prompt.families.json_text import (
    BrokenMarkup,
    ObjectEnd,
    arguments_of,
    call_of_object,
    head_of,
)
from roost_inference.prompt.families.opened_calls import OpenedCallParser
from roost_inference.wire.ids import call_id

OPENING, ARGUMENTS, CALL_ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"
HEAD_CHARACTERS_MAX = 256
_ID_RULE = "CALL_NUMBER: /[a-zA-Z0-9]{9}/"
_NAMED = re.compile(r"\s*([A-Za-z0-9_.:/-]{1,128})(?:\[CALL_ID\][A-Za-z0-9]{1,64})?\s*")


class MistralList(CallMarkup):
    """One list with all calls."""

    opening = OPENING
    parts = (OPENING,)
    tail = ' "]"'

    def rules(self, functions: Sequence[Signature], markers: Markers) -> list[str]:
        """See CallMarkup."""
        heads = [
            f"{head_of(function.name, 'arguments')} arguments_{number}"
            for number, function in enumerate(functions)
        ]
        return [
            _ID_RULE,
            f'one: ({" | ".join(heads)}) (", \\"id\\": \\"" CALL_NUMBER "\\"")? "}}"',
            f"open: {markers.literal(OPENING)}",
            'call: "[" one',
            'more: ", " one',
        ]

    def parser(self, functions: Sequence[Signature]) -> CallParser:
        """See CallMarkup."""
        return OpenedCallParser(OPENING, _ListReader)


class MistralNamed(CallMarkup):
    """Each call by itself; with_id: it has an id before its arguments."""

    opening = OPENING

    def __init__(self, *, with_id: bool) -> None:
        self.parts = (OPENING, ARGUMENTS, CALL_ID, "[THINK]", "[/THINK]")
        self._with_id = with_id

    def rules(self, functions: Sequence[Signature], markers: Markers) -> list[str]:
        """See CallMarkup."""
        number = f"{markers.literal(CALL_ID)} CALL_NUMBER " if self._with_id else ""
        calls = [
            f"{json.dumps(function.name)} {number}{markers.literal(ARGUMENTS)} arguments_{index}"
            for index, function in enumerate(functions)
        ]
        rules = [_ID_RULE] if self._with_id else []
        return [
            *rules,
            f"open: {markers.literal(OPENING)}",
            f"call: {' | '.join(calls)}",
            "more: open call",
        ]

    def parser(self, functions: Sequence[Signature]) -> CallParser:
        """See CallMarkup."""
        return OpenedCallParser(OPENING, _NamedReader)


class _ListReader:
    """Reads the list behind the opening."""

    def __init__(self) -> None:
        self._end = ObjectEnd()
        self._count = 0

    @property
    def may_end(self) -> bool:
        """A list that has begun has an end."""
        return False

    def take(self, text: str) -> tuple[ParsedCall | None, int] | None:
        """See CallReader."""
        start = len(text) - len(text.lstrip())
        if start == len(text):
            return None
        if self._count and text[start] == "]":
            return None, start + 1
        if text[start] != ("," if self._count else "["):
            raise BrokenMarkup
        end = self._end.find(text, start + 1)
        if end is None:
            return None
        call = call_of_object(text[start + 1 : end].lstrip())
        self._end = ObjectEnd()
        self._count += 1
        return call, end


class _NamedReader:
    """Reads one call behind its opening."""

    def __init__(self) -> None:
        self._end = ObjectEnd()
        self._is_done = False

    @property
    def may_end(self) -> bool:
        """After its arguments there is nothing."""
        return self._is_done

    def take(self, text: str) -> tuple[ParsedCall | None, int] | None:
        """See CallReader."""
        if self._is_done:
            return None, 0
        at = text.find(ARGUMENTS)
        if at < 0:
            if len(text) > HEAD_CHARACTERS_MAX or "\n" in text.strip():
                raise BrokenMarkup
            return None
        named = _NAMED.fullmatch(text, 0, at)
        if named is None:
            raise BrokenMarkup
        start = at + len(ARGUMENTS)
        end = self._end.find(text, start)
        if end is None:
            return None
        self._is_done = True
        return ParsedCall(call_id(), named[1], arguments_of(text[start:end].strip())), end
