"""Writes answers as chat completions: the chunks of a stream, or one object."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from roost_inference.errors import EngineError
from roost_inference.wire.usage import usage_of
from roost_platform.gateway.answer import Answer, AnswerChoice
from roost_platform.gateway.encoding import encode
from roost_platform.gateway.events import (
    CallDelta,
    Event,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    Usage,
)
from roost_platform.gateway.families.chat.legacy import uses_functions
from roost_platform.gateway.families.chat.signatures import SignedReasoning, details_of
from roost_platform.gateway.request import ModelRequest

DONE = b"data: [DONE]\n\n"


class ChatWriter:
    """The chunks of one answer. Reasoning goes out under both names that clients know."""

    def __init__(self, request: ModelRequest, body: Mapping[str, Any], call_id: str) -> None:
        self._has_usage = wants_usage(body)
        self._is_legacy = uses_functions(body)
        self._usage: Usage | None = None
        self._started: set[int] = set()
        self._signed = SignedReasoning()
        self._head: dict[str, Any] = {
            "id": f"chatcmpl-{call_id}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": request.model,
        }
        # What stands before and after the text in a chunk of text, by choice.
        self._around: dict[int, tuple[bytes, bytes]] = {}

    def write(self, events: Sequence[Event]) -> bytes:
        """These events as chunks; see StreamWriter."""
        parts: list[bytes] = []
        for event in events:
            match event:
                case TextDelta() if event.logprobs or event.choice not in self._started:
                    delta: dict[str, Any] = {"content": event.text}
                    parts.append(self._chunk(event.choice, delta, logprobs=event.logprobs))
                case TextDelta():
                    known = self._around.get(event.choice) or self._around_text(event.choice)
                    parts += (known[0], encode(event.text), known[1])
                case ReasoningDelta():
                    if delta := self._signed.delta(event):
                        parts.append(self._chunk(event.choice, delta))
                case RefusalDelta():
                    parts.append(self._chunk(event.choice, {"refusal": event.text}))
                case CallDelta() if not self._is_legacy:
                    parts.append(self._chunk(event.choice, {"tool_calls": [_call(event)]}))
                case CallDelta() if event.index == 0:
                    parts.append(self._chunk(event.choice, {"function_call": _function(event)}))
                case Finish():
                    reason = finish_reason(event.reason, is_legacy=self._is_legacy)
                    parts.append(self._chunk(event.choice, {}, finish=reason))
                case Usage():
                    self._usage = event
                case Started() if event.fingerprint:
                    self._head["system_fingerprint"] = event.fingerprint
                case _:
                    pass
        return b"".join(parts)

    def end(self) -> bytes:
        """The usage, if the client asked for it, and the end mark."""
        if not self._has_usage:
            return DONE
        usage = self._usage or Usage()
        last: dict[str, Any] = {**self._head, "choices": [], "usage": usage_object(usage)}
        if usage.metrics:
            last["metrics"] = dict(usage.metrics)
        if usage.warnings:
            last["warnings"] = list(usage.warnings)
        return b"data: " + encode(last) + b"\n\n" + DONE

    def fail(self, error: EngineError) -> bytes:
        """The error as the last event."""
        return b"data: " + encode(error_object(error)) + b"\n\n" + DONE

    def _around_text(self, index: int) -> tuple[bytes, bytes]:
        """A stream is mostly chunks of text: what they have in common is written once."""
        before, after = self._chunk(index, {"content": ""}).rsplit(b'""', 1)
        known = self._around[index] = (before, after)
        return known

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        *,
        finish: str | None = None,
        logprobs: Sequence[Mapping[str, Any]] = (),
    ) -> bytes:
        if index not in self._started:
            self._started.add(index)
            delta = {"role": "assistant", "content": None, **delta}
            if delta["content"] is None and "tool_calls" not in delta and not finish:
                delta["content"] = ""
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": {"content": list(logprobs), "refusal": None} if logprobs else None,
            "finish_reason": finish,
        }
        chunk: dict[str, Any] = {**self._head, "choices": [choice]}
        if self._has_usage:
            chunk["usage"] = None
        return b"data: " + encode(chunk) + b"\n\n"


def wants_usage(body: Mapping[str, Any]) -> bool:
    """Whether the client asks for the usage at the end of a stream."""
    options = body.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def completion(
    request: ModelRequest, body: Mapping[str, Any], call_id: str, answer: Answer
) -> dict[str, Any]:
    """A whole answer."""
    is_legacy, has_logprobs = uses_functions(body), bool(body.get("logprobs"))
    whole: dict[str, Any] = {
        "id": f"chatcmpl-{call_id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request.model,
        "choices": [
            {
                "index": index,
                "message": _message(choice, is_legacy=is_legacy),
                "logprobs": _logprobs(choice) if choice.logprobs or has_logprobs else None,
                "finish_reason": finish_reason(choice.finish or "stop", is_legacy=is_legacy),
            }
            for index, choice in enumerate(answer.choices)
        ],
        "usage": usage_object(answer.usage),
    }
    if answer.started.fingerprint:
        whole["system_fingerprint"] = answer.started.fingerprint
    if answer.usage.metrics:
        whole["metrics"] = dict(answer.usage.metrics)
    if answer.usage.warnings:
        whole["warnings"] = list(answer.usage.warnings)
    return whole


def error_object(error: EngineError) -> dict[str, Any]:
    """An error in OpenAI's form; all four keys are required."""
    return {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    }


def usage_object(usage: Usage) -> dict[str, Any]:
    """Usage in OpenAI's form."""
    return usage_of(
        usage.input_tokens,
        usage.output_tokens,
        cached=usage.cached_tokens,
        reasoning=usage.reasoning_tokens,
    )


def finish_reason(reason: str, *, is_legacy: bool = False) -> str:
    """The reason in OpenAI's words; `error` is none of them."""
    if reason == "tool_calls" and is_legacy:
        return "function_call"
    return "stop" if reason == "error" else reason


def _message(choice: AnswerChoice, *, is_legacy: bool) -> dict[str, Any]:
    text, reasoning = choice.text, choice.reasoning_text
    has_other = bool(choice.calls or choice.refusal)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text if text or not has_other else None,
        "refusal": choice.refusal or None,
        "annotations": [],
    }
    if reasoning:
        message |= {"reasoning": reasoning, "reasoning_content": reasoning}
    if details := details_of(choice.reasoning):
        message["reasoning_details"] = details
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments or "{}"},
        }
        for call in choice.calls
    ]
    if calls and is_legacy:
        message["function_call"] = calls[0]["function"]
    elif calls:
        message["tool_calls"] = calls
    return message


def _logprobs(choice: AnswerChoice) -> dict[str, Any]:
    return {"content": choice.logprobs, "refusal": None}


def _call(event: CallDelta) -> dict[str, Any]:
    if event.name:
        return {
            "index": event.index,
            "id": event.id,
            "type": "function",
            "function": {"name": event.name, "arguments": event.arguments},
        }
    return {"index": event.index, "function": {"arguments": event.arguments}}


def _function(event: CallDelta) -> dict[str, Any]:
    named = {"name": event.name} if event.name else {}
    return {**named, "arguments": event.arguments}
