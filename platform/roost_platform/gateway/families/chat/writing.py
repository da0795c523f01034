"""Writes answers as chat completions: the chunks of a stream, or one object."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from roost_inference.errors import EngineError
from roost_platform.gateway.answer import Answer, AnswerChoice
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
from roost_platform.gateway.exchange import encode
from roost_platform.gateway.families.chat.signatures import SignedReasoning, details_of
from roost_platform.gateway.request import ModelRequest

DONE = b"data: [DONE]\n\n"


class ChatWriter:
    """The chunks of one answer. Reasoning goes out under both names that clients know."""

    def __init__(self, request: ModelRequest, body: Mapping[str, Any], call_id: str) -> None:
        options = body.get("stream_options")
        self._has_usage = isinstance(options, dict) and bool(options.get("include_usage"))
        self._usage: Usage | None = None
        self._started: set[int] = set()
        self._signed = SignedReasoning()
        self._head: dict[str, Any] = {
            "id": f"chatcmpl-{call_id}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": request.model,
        }

    def write(self, events: Sequence[Event]) -> bytes:
        """These events as chunks; see StreamWriter."""
        parts: list[bytes] = []
        for event in events:
            match event:
                case TextDelta():
                    delta: dict[str, Any] = {"content": event.text}
                    parts.append(self._chunk(event.choice, delta, logprobs=event.logprobs))
                case ReasoningDelta():
                    if delta := self._signed.delta(event):
                        parts.append(self._chunk(event.choice, delta))
                case RefusalDelta():
                    parts.append(self._chunk(event.choice, {"refusal": event.text}))
                case CallDelta():
                    parts.append(self._chunk(event.choice, {"tool_calls": [_call(event)]}))
                case Finish():
                    parts.append(self._chunk(event.choice, {}, finish=event.reason))
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
        usage = {"choices": [], "usage": usage_object(self._usage or Usage())}
        return b"data: " + encode({**self._head, **usage}) + b"\n\n" + DONE

    def fail(self, error: EngineError) -> bytes:
        """The error as the last event."""
        return b"data: " + encode(error_object(error)) + b"\n\n" + DONE

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
            if delta["content"] is None and not finish:
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


def completion(request: ModelRequest, call_id: str, answer: Answer) -> dict[str, Any]:
    """A whole answer."""
    whole: dict[str, Any] = {
        "id": f"chatcmpl-{call_id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request.model,
        "choices": [_choice(index, choice) for index, choice in enumerate(answer.choices)],
        "usage": usage_object(answer.usage),
    }
    if answer.started.fingerprint:
        whole["system_fingerprint"] = answer.started.fingerprint
    if answer.usage.metrics:
        whole["metrics"] = dict(answer.usage.metrics)
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
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _choice(index: int, choice: AnswerChoice) -> dict[str, Any]:
    text, reasoning = choice.text, choice.reasoning_text
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text if text or not choice.calls else None,
        "refusal": choice.refusal or None,
        "annotations": [],
    }
    if reasoning:
        message |= {"reasoning": reasoning, "reasoning_content": reasoning}
    if details := details_of(choice.reasoning):
        message["reasoning_details"] = details
    if choice.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments or "{}"},
            }
            for call in choice.calls
        ]
    has_logprobs = bool(choice.logprobs)
    return {
        "index": index,
        "message": message,
        "logprobs": {"content": choice.logprobs, "refusal": None} if has_logprobs else None,
        "finish_reason": choice.finish or "stop",
    }


def _call(event: CallDelta) -> dict[str, Any]:
    if event.name:
        return {
            "index": event.index,
            "id": event.id,
            "type": "function",
            "function": {"name": event.name, "arguments": event.arguments},
        }
    return {"index": event.index, "function": {"arguments": event.arguments}}
