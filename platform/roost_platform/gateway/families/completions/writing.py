"""Writes answers as completions. Reasoning has no place in them and is left out."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from roost_inference.errors import EngineError
from roost_platform.gateway.answer import Answer, AnswerChoice
from roost_platform.gateway.encoding import encode
from roost_platform.gateway.events import (
    Event,
    Finish,
    RefusalDelta,
    Started,
    TextDelta,
    Usage,
)
from roost_platform.gateway.families.chat.writing import (
    DONE,
    error_object,
    finish_reason,
    usage_object,
    wants_usage,
)
from roost_platform.gateway.families.completions.reading import Wanted, read_wanted
from roost_platform.gateway.request import ModelRequest


class CompletionWriter:
    """The chunks of one answer."""

    def __init__(self, request: ModelRequest, body: Mapping[str, Any], call_id: str) -> None:
        self._wanted = read_wanted(body)
        self._has_usage = wants_usage(body)
        self._usage = Usage()
        self._lengths: dict[int, int] = {}  # characters so far, by choice
        self._head = _head(request, call_id)

    def write(self, events: Sequence[Event]) -> bytes:
        """These events as chunks; see StreamWriter."""
        parts: list[bytes] = []
        for event in events:
            match event:
                case TextDelta():
                    parts.append(self._chunk(event.choice, event.text, logprobs=event.logprobs))
                case RefusalDelta():
                    parts.append(self._chunk(event.choice, event.text))
                case Finish():
                    reason = _reason(event.reason)
                    parts.append(self._chunk(event.choice, "", finish=reason))
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
        last = {**self._head, "choices": [], "usage": usage_object(self._usage)}
        return b"data: " + encode(last) + b"\n\n" + DONE

    def fail(self, error: EngineError) -> bytes:
        """The error as the last event."""
        return b"data: " + encode(error_object(error)) + b"\n\n" + DONE

    def _chunk(
        self,
        index: int,
        text: str,
        *,
        finish: str | None = None,
        logprobs: Sequence[Mapping[str, Any]] = (),
    ) -> bytes:
        wanted = self._wanted
        if index not in self._lengths and wanted.echo:
            text = wanted.prompts[min(index // wanted.n, len(wanted.prompts) - 1)] + text
        start = self._lengths.get(index, 0)
        self._lengths[index] = start + len(text)
        has_logprobs = wanted.logprobs is not None and bool(logprobs)
        choice = {
            "text": text,
            "index": index,
            "logprobs": older_logprobs(logprobs, start) if has_logprobs else None,
            "finish_reason": finish,
        }
        return b"data: " + encode({**self._head, "choices": [choice]}) + b"\n\n"


def completion(
    request: ModelRequest, body: Mapping[str, Any], call_id: str, answer: Answer
) -> dict[str, Any]:
    """A whole answer."""
    wanted = read_wanted(body)
    choices: list[dict[str, Any]] = []
    for number, prompt in enumerate(wanted.prompts):
        made = answer.choices[number * wanted.best_of : (number + 1) * wanted.best_of]
        for choice in _likeliest(made, wanted.n):
            choices.append(_choice(choice, len(choices), prompt if wanted.echo else "", wanted))
    whole = {**_head(request, call_id), "choices": choices, "usage": usage_object(answer.usage)}
    if answer.started.fingerprint:
        whole["system_fingerprint"] = answer.started.fingerprint
    return whole


def older_logprobs(entries: Sequence[Mapping[str, Any]], start: int) -> dict[str, Any]:
    """Logprobs in the form of completions. start: where the first token stands in the text."""
    tokens = [str(entry.get("token", "")) for entry in entries]
    offsets = []
    for token in tokens:
        offsets.append(start)
        start += len(token)
    return {
        "tokens": tokens,
        "token_logprobs": [entry.get("logprob") for entry in entries],
        "top_logprobs": [
            {str(top.get("token", "")): top.get("logprob") for top in entry.get("top_logprobs", ())}
            for entry in entries
        ],
        "text_offset": offsets,
    }


def _head(request: ModelRequest, call_id: str) -> dict[str, Any]:
    return {
        "id": f"cmpl-{call_id}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": request.model,
    }


def _choice(choice: AnswerChoice, index: int, before: str, wanted: Wanted) -> dict[str, Any]:
    has_logprobs = wanted.logprobs is not None and bool(choice.logprobs)
    return {
        "text": before + (choice.text or choice.refusal),
        "index": index,
        "logprobs": older_logprobs(choice.logprobs, 0) if has_logprobs else None,
        "finish_reason": _reason(choice.finish or "stop"),
    }


def _likeliest(choices: Sequence[AnswerChoice], n: int) -> list[AnswerChoice]:
    """The `n` choices with the best mean logprob of a token, the best one first."""
    if len(choices) <= n or not all(choice.logprobs for choice in choices):
        return list(choices[:n])
    best = sorted(range(len(choices)), key=lambda index: -_mean(choices[index]))[:n]
    return [choices[index] for index in best]


def _mean(choice: AnswerChoice) -> float:
    values = [entry.get("logprob") for entry in choice.logprobs if isinstance(entry, Mapping)]
    known = [float(value) for value in values if isinstance(value, int | float)]
    return sum(known) / len(known) if known else float("-inf")


def _reason(reason: str) -> str:
    """Completions know no tool calls."""
    return "stop" if reason == "tool_calls" else finish_reason(reason)
