"""The blocks of a streamed message: one is open at a time, and a closed one never opens again."""

import json
from collections.abc import Iterator
from typing import Any

from roost_platform.gateway.events import CallDelta, NativePart, ReasoningDelta
from roost_platform.gateway.families.messages.whole import call_block, text_block

Value = dict[str, Any]
Open = str | int | None  # `text`, `thinking`, or the number of a call


class BlockWriter:
    """Writes the events of blocks.

    Engines may write several calls at once. What belongs to another block waits until the arguments
    of the open call are whole, at the latest until the end.
    """

    def __init__(self) -> None:
        self.has_calls = False
        self._index = -1
        self._open: Open = None
        self._is_open = False
        self._is_ending = False
        self._begun_calls: set[int] = set()
        self._arguments = ""
        self._waiting: list[str | ReasoningDelta | CallDelta | NativePart] = []

    def text(self, text: str) -> Iterator[Value]:
        """More text."""
        if not text:
            return
        if self._must_wait():
            self._waiting.append(text)
            return
        if self._open != "text":
            yield from self._begin("text", text_block(""))
        yield self._delta({"type": "text_delta", "text": text})

    def reasoning(self, event: ReasoningDelta) -> Iterator[Value]:
        """More reasoning."""
        if self._must_wait():
            self._waiting.append(event)
            return
        if event.is_redacted:
            yield from self._begin(None, {"type": "redacted_thinking", "data": event.text})
            yield from self._close()
            return
        if not event.text and not event.signature:
            return
        if self._open != "thinking":
            empty = {"type": "thinking", "thinking": "", "signature": ""}
            yield from self._begin("thinking", empty)
        if event.text:
            yield self._delta({"type": "thinking_delta", "thinking": event.text})
        if event.signature:
            yield self._delta({"type": "signature_delta", "signature": event.signature})
            yield from self._close()

    def call(self, event: CallDelta) -> Iterator[Value]:
        """More of a call."""
        self.has_calls = True
        if event.index != self._open:
            if self._must_wait():
                self._waiting.append(event)
                return
            if event.index in self._begun_calls:
                return  # its arguments were whole
            self._begun_calls.add(event.index)
            yield from self._begin(event.index, call_block(event.id, event.name, {}))
        if event.arguments:
            self._arguments += event.arguments
            yield self._delta({"type": "input_json_delta", "partial_json": event.arguments})
            if self._waiting and not self._must_wait():
                yield from self._again()

    def native(self, event: NativePart) -> Iterator[Value]:
        """A block in Anthropic's own form, or an addition to the text."""
        if self._must_wait():
            self._waiting.append(event)
            return
        if event.is_delta:
            if self._open != "text":
                yield from self._begin("text", text_block(""))
            yield self._delta(dict(event.value))
            return
        yield from self._begin(None, dict(event.value))
        yield from self._close()

    def end(self) -> Iterator[Value]:
        """Write what waits, call by call, and close what is open."""
        self._is_ending = True
        waiting, self._waiting = self._waiting, []
        places: dict[int, int] = {}  # where each call begins; later pieces of it go there
        for place, one in enumerate(waiting):
            if isinstance(one, CallDelta):
                places.setdefault(one.index, place)
        order = [
            (places[one.index] if isinstance(one, CallDelta) else place, place)
            for place, one in enumerate(waiting)
        ]
        for _, place in sorted(order):
            yield from self._take(waiting[place])
        yield from self._close()

    def _again(self) -> Iterator[Value]:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            yield from self._take(one)

    def _take(self, one: str | ReasoningDelta | CallDelta | NativePart) -> Iterator[Value]:
        match one:
            case str():
                return self.text(one)
            case ReasoningDelta():
                return self.reasoning(one)
            case CallDelta():
                return self.call(one)
            case NativePart():
                return self.native(one)

    def _must_wait(self) -> bool:
        """Whether a call is open whose arguments are not whole."""
        if self._is_ending or not isinstance(self._open, int):
            return False
        if not self._arguments.rstrip().endswith("}"):
            return True
        try:
            json.loads(self._arguments)
        except (ValueError, RecursionError):
            return True
        return False

    def _begin(self, kind: Open, block: Value) -> Iterator[Value]:
        yield from self._close()
        self._index += 1
        self._open, self._arguments = kind, ""
        self._is_open = True
        yield {"type": "content_block_start", "index": self._index, "content_block": block}

    def _close(self) -> Iterator[Value]:
        if self._is_open:
            self._is_open = False
            self._open = None
            yield {"type": "content_block_stop", "index": self._index}

    def _delta(self, delta: Value) -> Value:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}
