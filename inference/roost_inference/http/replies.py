"""Answers and errors in OpenAI's shape: one JSON object, or the chunks of a stream."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roost_inference.errors import EngineError
from roost_inference.http.generation import Finished, Piece, TextPiece
from roost_inference.prompt.tool_calls import ParsedCall
from roost_inference.request import SpeculationFigures, Timings, TokenLogprob, Usage
from roost_inference.wire.fields import RequestWarning

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"

_encode = json.JSONEncoder(ensure_ascii=False).encode


def fingerprint_of(build: str) -> str:
    """The `system_fingerprint` of a build of the engine."""
    return f"fp_{hashlib.blake2b(build.encode(), digest_size=5).hexdigest()}"


def error_body(error: EngineError) -> dict[str, Any]:
    """The error as OpenAI's JSON."""
    return {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    }


def event(value: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + _encode(value).encode() + b"\n\n"


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """What an answer has beside its content. warnings: of fields that were not heeded.
    fingerprint: of the build. speaks_of_functions: calls are `function_call`, as the older API
    has them."""

    warnings: tuple[RequestWarning, ...] = ()
    fingerprint: str | None = None
    speaks_of_functions: bool = False

    def head(self) -> dict[str, Any]:
        """`system_fingerprint`, where the build is known."""
        return {} if self.fingerprint is None else {"system_fingerprint": self.fingerprint}

    def notes(self) -> dict[str, Any]:
        """`warnings`, where there are some."""
        return {"warnings": [w.report() for w in self.warnings]} if self.warnings else {}

    def reason(self, reason: str) -> str:
        """The finish reason by its name in this form."""
        return "function_call" if self.speaks_of_functions and reason == "tool_calls" else reason


PLAIN_FORM = AnswerForm()


class Chunks:
    """The chunks of one streamed answer, in the order OpenAI sends them."""

    def __init__(
        self,
        *,
        id: str,
        model: str,
        created: int,
        include_usage: bool,
        logprobs: bool,
        opening: str = "",
        form: AnswerForm = PLAIN_FORM,
    ) -> None:
        """opening: the tag of a reasoning block that the prompt has opened."""
        self._form = form
        self._opening = opening
        self._head = {
            "id": id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
            **form.head(),
        }
        self._include_usage = include_usage
        self._logprobs = logprobs
        self._calls = 0
        # A chunk of text is its text between these two: chunks are made for every token.
        self._before, self._after = self._chunk({"content": ""}).rsplit(b'""', 1)

    def first(self) -> bytes:
        """The chunk that names the role, before any text."""
        opens = {"opens_reasoning": self._opening} if self._opening else {}
        return self._chunk({"role": "assistant", "content": "", "refusal": None}, opens)

    def of(self, piece: Piece) -> Iterator[bytes]:
        """The events of one piece; those of Finished end the stream."""
        if isinstance(piece, TextPiece):
            if self._logprobs and piece.logprobs:
                yield self._chunk({"content": piece.text}, logprobs=piece.logprobs)
            elif piece.text:
                yield self._before + _encode(piece.text).encode() + self._after
        elif isinstance(piece, ParsedCall):
            function = {"name": piece.name, "arguments": ""}
            if self._form.speaks_of_functions:
                yield self._chunk({"function_call": function})
                yield self._chunk({"function_call": {"arguments": piece.arguments}})
                return
            head = {"index": self._calls, "id": piece.id, "type": "function", "function": function}
            yield self._chunk({"tool_calls": [head]})
            rest = {"index": self._calls, "function": {"arguments": piece.arguments}}
            yield self._chunk({"tool_calls": [rest]})
            self._calls += 1
        else:
            reason, notes = self._form.reason(piece.reason), self._form.notes()
            more = {} if self._include_usage else notes
            yield self._chunk({}, more, finish_reason=reason, stop_string=piece.stop_string)
            if self._include_usage:
                yield event({**self._head, "choices": [], **figures_of(piece), **notes})
            yield DONE

    def _chunk(
        self,
        delta: Mapping[str, Any],
        more: Mapping[str, Any] | None = None,
        *,
        finish_reason: str | None = None,
        stop_string: str | None = None,
        logprobs: Sequence[TokenLogprob] = (),
    ) -> bytes:
        choice: dict[str, Any] = {
            "index": 0,
            "delta": delta,
            "logprobs": _logprobs(logprobs) if self._logprobs and logprobs else None,
            "finish_reason": finish_reason,
        }
        if stop_string is not None:
            choice["stop_reason"] = stop_string  # vLLM's name of it
        chunk: dict[str, Any] = {**self._head, "choices": [choice], **(more or {})}
        if self._include_usage:
            chunk["usage"] = None
        return event(chunk)


def completion(
    pieces: Iterable[Piece],
    *,
    id: str,
    model: str,
    created: int,
    logprobs: bool,
    form: AnswerForm = PLAIN_FORM,
) -> dict[str, Any]:
    """The whole answer as one object; `pieces` end with Finished."""
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    tokens: list[TokenLogprob] = []
    end: Finished | None = None
    for piece in pieces:
        if isinstance(piece, TextPiece):
            texts.append(piece.text)
            tokens += piece.logprobs
        elif isinstance(piece, ParsedCall):
            function = {"name": piece.name, "arguments": piece.arguments}
            calls.append({"id": piece.id, "type": "function", "function": function})
        else:
            end = piece
    assert end is not None, "a generation ends with Finished"
    text = "".join(texts)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text if text or not calls else None,
        "refusal": None,
        "annotations": [],
    }
    if calls and form.speaks_of_functions:
        message["function_call"] = calls[0]["function"]
    elif calls:
        message["tool_calls"] = calls
    choice: dict[str, Any] = {
        "index": 0,
        "message": message,
        "logprobs": _logprobs(tokens) if logprobs else None,
        "finish_reason": form.reason(end.reason),
    }
    if end.stop_string is not None:
        choice["stop_reason"] = end.stop_string
    return {
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        **form.head(),
        "choices": [choice],
        **figures_of(end),
        **form.notes(),
    }


def figures_of(end: Finished) -> dict[str, Any]:
    """`usage`, and `metrics` with the times of the request."""
    figures: dict[str, Any] = {"usage": _usage(end.usage)}
    if end.timings is not None:
        figures["metrics"] = {**_timings(end.timings), **end.figures}
    if end.speculation is not None:
        figures.setdefault("metrics", {})["speculative_decoding"] = _speculation(end.speculation)
    return figures


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _timings(timings: Timings) -> dict[str, float | None]:
    first = timings.first_token_s
    return {
        "queue_ms": round(timings.queue_s * 1000, 3),
        "first_token_ms": None if first is None else round(first * 1000, 3),
        "total_ms": round(timings.total_s * 1000, 3),
    }


def _speculation(figures: SpeculationFigures) -> dict[str, Any]:
    """vLLM's names and shapes, and the accepted tokens by drafter."""
    unseen = [0] * (figures.depth_max + 1 - len(figures.histogram))
    return {
        "mean_acceptance_length": round(1 + figures.accepted_tokens / figures.steps, 3),
        "draft_acceptance_rate": round(figures.accepted_tokens / figures.draft_tokens, 3),
        "acceptance_histogram": [*figures.histogram, *unseen],
        "acceptance_histogram_by_draft_length": {
            str(length): list(counts) for length, counts in figures.by_draft_length.items()
        },
        "num_spec_steps": figures.steps,
        "num_accepted_draft_tokens": figures.accepted_tokens,
        "num_draft_tokens": figures.draft_tokens,
        "num_spec_tokens": figures.depth_max,
        "accepted_by_drafter": dict(figures.accepted_by_drafter),
    }


def logprob_entries(tokens: Iterable[TokenLogprob]) -> list[dict[str, Any]]:
    """An entry for each token, with its likeliest alternatives."""
    return [
        {
            **_token(token.text, token.logprob),
            "top_logprobs": [_token(text, logprob) for text, logprob in token.top],
        }
        for token in tokens
    ]


def _logprobs(tokens: Iterable[TokenLogprob]) -> dict[str, Any]:
    return {"content": logprob_entries(tokens), "refusal": None}


def _token(text: str, logprob: float) -> dict[str, Any]:
    # JSON has no -inf, which masked and biased tokens have.
    return {"token": text, "logprob": max(logprob, -9999.0), "bytes": list(text.encode())}
