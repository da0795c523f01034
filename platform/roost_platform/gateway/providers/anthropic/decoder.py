"""Reads the events of Anthropic's Messages API as inner events."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from roost_inference.client.assembly import ANSWER_CHARACTERS_MAX, FINISH_REASONS, count_of
from roost_inference.client.call_assembly import CALLS_MAX
from roost_inference.client.refusals import error_of, refusal
from roost_inference.errors import EngineError, EngineFailed
from roost_inference.wire.ids import call_id
from roost_platform.gateway.errors import StreamBroken, UnreadableAnswer
from roost_platform.gateway.events import (
    CallDelta,
    Event,
    Finish,
    FinishReason,
    NativePart,
    ReasoningDelta,
    Started,
    TextDelta,
    Usage,
)

# The status that an error of this type has where it comes as an answer.
STATUSES: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
ERROR_FIELDS: Final = frozenset({"error", "errors", "message", "detail"})
REASONS: Final = frozenset({"stop", "length", "tool_calls", "content_filter"})
BLOCKS_MAX: Final = 4096  # of one answer
PROMPT: Final = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
# Usage that has a field of its own in the inner event.
COUNTED: Final = frozenset({*PROMPT, "output_tokens"})


@dataclass(slots=True)
class _Block:
    """A block that is open. call: its number among the calls, None for other blocks."""

    value: dict[str, Any]
    call: int | None = None
    arguments: str = ""

    @property
    def kind(self) -> str:
        return str(self.value.get("type"))


class MessagesDecoder:
    """The events of one streamed answer, or of a whole one that came instead."""

    def __init__(self) -> None:
        self.has_ended = False
        self._has_started = False
        self._blocks: dict[Any, _Block] = {}
        self._begun = 0
        self._ids: list[str] = []  # of the calls, each of its own
        self._size = 0
        self._usage: dict[str, Any] = {}
        self._finish: dict[str, Any] = {}

    def feed(self, value: Any, *, is_event_error: bool = False) -> list[Event]:
        """The inner events in one event. Raises the error that an event carries."""
        if not isinstance(value, dict):
            raise UnreadableAnswer("The provider sent an event that is not an object")
        return list(self._events(value, is_event_error=is_event_error))

    def end(self) -> list[Event]:
        """How the answer ended, and its usage. Raises StreamBroken where it has no end."""
        said = self._finish.get("stop_reason")
        if not isinstance(said, str) or not said:
            if not self.has_ended:
                raise StreamBroken("The provider's answer ended without an end")
            self._finish["stop_reason"] = said = "end_turn"
        native = {name: value for name, value in self._finish.items() if value is not None}
        reason = FINISH_REASONS.get(said.lower(), said.lower())
        if reason not in REASONS:
            reason = "stop"
        sequence = native.get("stop_sequence")
        # Some providers leave out how their last blocks end.
        rest = [event for index in tuple(self._blocks) for event in self._stop(index)]
        finish = Finish(
            cast(FinishReason, reason),
            stop_sequence=sequence if isinstance(sequence, str) else None,
            native={"stop_sequence": None, **native},
        )
        return [*rest, finish, self._used()]

    def _events(self, value: Mapping[str, Any], *, is_event_error: bool) -> Iterator[Event]:
        match value.get("type"):
            case "message_start" if isinstance(value.get("message"), dict):
                yield from self._start(value["message"])
                # At the start it is a placeholder, which must not stand for what is produced.
                self._usage.pop("output_tokens", None)
            case "content_block_start" if isinstance(value.get("content_block"), dict):
                yield from self._begin(value.get("index"), value["content_block"])
            case "content_block_delta" if isinstance(value.get("delta"), dict):
                yield from self._delta(value.get("index"), value["delta"])
            case "content_block_stop":
                yield from self._stop(value.get("index"))
            case "message_delta":
                self._note_end(value)
            case "message_stop":
                self.has_ended = True
            case "message":  # a whole answer
                yield from self._whole(value)
            case "ping":
                pass
            case _:
                error = _error(value, is_event_error=is_event_error)
                if error is not None:
                    raise error
                if not self._has_started:
                    raise UnreadableAnswer("The provider's answer is not in Anthropic's form")

    def _start(self, message: Mapping[str, Any]) -> Iterator[Event]:
        self._has_started = True
        self._count(message.get("usage"))
        yield Started(
            id=str(message.get("id") or ""),
            model=str(message.get("model") or ""),
            prompt=self._used() if self._usage.get("input_tokens") else None,
        )

    def _begin(self, index: Any, value: dict[str, Any]) -> Iterator[Event]:
        yield from self._stop(index)  # of the block before, where nothing ended it
        self._begun += 1
        if self._begun > BLOCKS_MAX:
            raise UnreadableAnswer(f"The provider sent more than {BLOCKS_MAX} blocks")
        block = self._blocks[_key(index)] = _Block(value)
        match block.kind:
            case "text":
                yield from self._text(value.get("text"))
                citations = value.get("citations")
                for citation in citations if isinstance(citations, list) else ():
                    self._grow(json.dumps(citation))
                    yield NativePart({"type": "citations_delta", "citation": citation}, True)
            case "thinking":
                yield from self._thought(value.get("thinking"), value.get("signature"))
            case "redacted_thinking":
                data = value.get("data")
                if isinstance(data, str):
                    self._grow(data)
                    yield ReasoningDelta(data, is_redacted=True)
            case "tool_use":
                if len(self._ids) >= CALLS_MAX:
                    raise UnreadableAnswer(f"The provider sent more than {CALLS_MAX} tool calls")
                id, name = str(value.get("id") or ""), str(value.get("name") or "")
                self._grow(id + name)
                block.call = len(self._ids)
                self._ids.append(id if id and id not in self._ids else call_id())
                yield CallDelta(block.call, self._ids[-1], name)

    def _delta(self, index: Any, delta: Mapping[str, Any]) -> Iterator[Event]:
        match delta.get("type"):
            case "text_delta":
                yield from self._text(delta.get("text"))
            case "thinking_delta":
                yield from self._thought(delta.get("thinking"), None)
            case "signature_delta":
                yield from self._thought(None, delta.get("signature"))
            case "citations_delta":
                self._grow(json.dumps(delta))
                yield NativePart(delta, is_delta=True)
            case "input_json_delta":
                block = self._blocks.get(_key(index))
                piece = delta.get("partial_json")
                if block is None or not isinstance(piece, str) or not piece:
                    return
                self._grow(piece)
                block.arguments += piece
                if block.call is not None:
                    yield CallDelta(block.call, arguments=piece)

    def _stop(self, index: Any) -> Iterator[Event]:
        block = self._blocks.pop(_key(index), None)
        if block is None or block.kind in ("text", "thinking", "redacted_thinking"):
            return
        given = block.value.get("input")
        if block.call is not None:
            if not block.arguments and isinstance(given, dict):
                yield CallDelta(block.call, arguments=json.dumps(given, ensure_ascii=False))
            return
        value = block.value
        if block.arguments:  # of a tool that ran on the provider's side
            try:
                value = {**value, "input": json.loads(block.arguments)}
            except (ValueError, RecursionError):
                value = {**value, "input": {"arguments": block.arguments}}
        self._grow(json.dumps(value))
        yield NativePart(value)

    def _whole(self, message: Mapping[str, Any]) -> Iterator[Event]:
        yield from self._start(message)
        content = message.get("content")
        for index, block in enumerate(content if isinstance(content, list) else ()):
            if isinstance(block, dict):
                yield from self._begin(index, block)
                yield from self._stop(index)
        ends = ("stop_reason", "stop_sequence", "stop_details", "container")
        self._note_end({**message, "delta": {name: message.get(name) for name in ends}})
        self.has_ended = True

    def _note_end(self, value: Mapping[str, Any]) -> None:
        if isinstance(value.get("delta"), dict):
            self._finish |= value["delta"]
        if isinstance(value.get("context_management"), dict):
            self._finish["context_management"] = value["context_management"]
        self._count(value.get("usage"))

    def _text(self, text: Any) -> Iterator[Event]:
        if isinstance(text, str) and text:
            self._grow(text)
            yield TextDelta(text)

    def _thought(self, text: Any, signature: Any) -> Iterator[Event]:
        shown = text if isinstance(text, str) else ""
        proof = signature if isinstance(signature, str) else ""
        if shown or proof:
            self._grow(shown)
            yield ReasoningDelta(shown, signature=proof)

    def _count(self, usage: Any) -> None:
        """Counts are totals so far; a later event may leave some out, or all of the prompt's."""
        if not isinstance(usage, dict):
            return
        told = {name: value for name, value in usage.items() if value is not None}
        if not any(count_of(told.get(name)) for name in PROMPT):
            told = {name: value for name, value in told.items() if name not in PROMPT}
        self._usage |= told

    def _used(self) -> Usage:
        usage = self._usage
        cached = count_of(usage.get("cache_read_input_tokens"))
        written = count_of(usage.get("cache_creation_input_tokens"))
        details = usage.get("output_tokens_details")
        thought = details.get("thinking_tokens") if isinstance(details, dict) else None
        return Usage(
            input_tokens=count_of(usage.get("input_tokens")) + cached + written,
            cached_tokens=cached,
            cache_write_tokens=written,
            output_tokens=count_of(usage.get("output_tokens")),
            reasoning_tokens=count_of(thought),
            native={name: value for name, value in usage.items() if name not in COUNTED},
        )

    def _grow(self, text: str) -> None:
        self._size += len(text)
        if self._size > ANSWER_CHARACTERS_MAX:
            raise EngineFailed(f"The answer is longer than {ANSWER_CHARACTERS_MAX} characters")


def _error(value: Mapping[str, Any], *, is_event_error: bool) -> EngineError | None:
    """The error in an event, by its type where it is one of Anthropic's."""
    if ERROR_FIELDS.isdisjoint(value):
        return None
    error = value.get("error")
    kind = error.get("type") if isinstance(error, dict) else None
    if isinstance(kind, str) and kind in STATUSES:
        return refusal(STATUSES[kind], {}, json.dumps(value).encode())
    return error_of(value, is_event_error=is_event_error)


def _key(index: Any) -> int:
    return index if isinstance(index, int) else -1
