"""Writes a streamed answer as the events of Anthropic's Messages API."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from roost_inference.errors import EngineError
from roost_platform.gateway.encoding import encode
from roost_platform.gateway.events import (
    CallDelta,
    Embedded,
    Event,
    Finish,
    NativePart,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    TextWasReasoning,
    Usage,
)
from roost_platform.gateway.families.messages.blocks import BlockWriter
from roost_platform.gateway.families.messages.errors import error_object
from roost_platform.gateway.families.messages.whole import (
    message_head,
    message_id,
    stop_fields,
    usage_object,
)
from roost_platform.gateway.request import ModelRequest

PING_EVERY_S: Final = 10.0  # while the model thinks and the client does not want to read it
PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'


def sse(value: Mapping[str, Any]) -> bytes:
    """One event, which Anthropic names twice."""
    return b"event: " + str(value["type"]).encode() + b"\ndata: " + encode(value) + b"\n\n"


class MessagesWriter:
    """The events of one answer. Nothing goes out before the model has said something.

    estimate: tokens of the prompt, which `message_start` has to tell; the last event corrects it.
    """

    def __init__(
        self, request: ModelRequest, call_id: str, *, estimate: int, shows_reasoning: bool
    ) -> None:
        self._head = message_head(message_id(call_id), request.model)
        self._request_id = f"req_{call_id}"
        self._prompt = Usage(input_tokens=estimate)
        self._shows_reasoning = shows_reasoning
        self._blocks = BlockWriter()
        self._has_begun = False
        self._is_refusal = False
        self._finish = Finish("stop")
        self._usage: Usage | None = None
        self._pinged = time.monotonic()

    def write(self, events: Sequence[Event]) -> bytes:
        """These events as the client reads them; see StreamWriter."""
        parts: list[bytes] = []
        for event in events:
            match event:
                case Started():
                    self._prompt = event.prompt or self._prompt
                case Usage():
                    self._usage = event
                case TextWasReasoning() | Embedded():
                    pass  # what was sent can't be taken back
                case _ if event.choice == 0:
                    if not self._has_begun:
                        parts.append(self._begin())
                    parts += self._one(event)
        return b"".join(parts)

    def end(self) -> bytes:
        """What ends the stream; see StreamWriter."""
        parts = [] if self._has_begun else [self._begin()]
        parts += map(sse, self._blocks.end())
        has_calls, is_refusal = self._blocks.has_calls, self._is_refusal
        delta = stop_fields(self._finish, has_calls=has_calls, is_refusal=is_refusal)
        management = {name: delta.pop(name) for name in ("context_management",) if name in delta}
        end = {
            "type": "message_delta",
            "delta": {"stop_details": None, "container": None, **delta},
            "usage": usage_object(self._usage or self._prompt),
            **management,
        }
        return b"".join([*parts, sse(end), sse({"type": "message_stop"})])

    def fail(self, error: EngineError) -> bytes:
        """An error in mid-stream; see StreamWriter."""
        return sse(error_object(error, self._request_id))

    def _begin(self) -> bytes:
        self._has_begun = True
        start = {**self._head, "usage": usage_object(self._prompt)}
        return sse({"type": "message_start", "message": start}) + PING

    def _one(self, event: Event) -> list[bytes]:
        match event:
            case TextDelta():
                return [*map(sse, self._blocks.text(event.text))]
            case RefusalDelta():
                self._is_refusal = True
                return [*map(sse, self._blocks.text(event.text))]
            case ReasoningDelta():
                return self._reasoning(event)
            case CallDelta():
                return [*map(sse, self._blocks.call(event))]
            case NativePart():
                return [*map(sse, self._blocks.native(event))]
            case Finish():
                self._finish = event
        return []

    def _reasoning(self, event: ReasoningDelta) -> list[bytes]:
        """Reasoning that nobody wants to read shows only that the model lives. Its signature goes
        out all the same: the provider wants it back.
        """
        if not self._shows_reasoning and not event.is_redacted:
            if event.signature:
                return [*map(sse, self._blocks.reasoning(replace(event, text="")))]
            now = time.monotonic()
            if now - self._pinged < PING_EVERY_S:
                return []
            self._pinged = now
            return [PING]
        return [*map(sse, self._blocks.reasoning(event))]
