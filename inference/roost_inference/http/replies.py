"""Answers and errors in OpenAI's shape: one JSON object, or the chunks of a stream."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roost_inference.errors import EngineError
from roost_inference.http.answer.figures import (
    figures_of,
    logprobs_body,
    prompt_logprobs_body,
    usage_body,
)
from roost_inference.http.generation import Finished, Piece, TextPiece
from roost_inference.prompt.call_markup import ParsedCall
from roost_inference.request import TokenLogprob, Usage
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
class Wanted:
    """What a client wants to see of its answer.

    choices: how many there are. tokens_as_ids: logprobs name tokens by their numbers. token_ids:
    the tokens of prompt and choices. usage: a last chunk with the usage; running_usage: every chunk
    has the usage so far.
    """

    choices: int = 1
    logprobs: bool = False
    tokens_as_ids: bool = False
    token_ids: bool = False
    usage: bool = False
    running_usage: bool = False


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
        wanted: Wanted,
        opening: str = "",
        prompt_tokens: Sequence[int] = (),
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
        self._wanted = wanted
        self._prompt_tokens = prompt_tokens
        self._written = 0
        self._calls = [0] * wanted.choices
        self._ends: list[Finished] = []
        # A chunk of text is its text between these two: chunks are made for every token.
        self._around = [self._around_text(choice) for choice in range(wanted.choices)]

    def _around_text(self, choice: int) -> tuple[bytes, bytes]:
        before, after = self._chunk({"content": ""}, choice=choice).rsplit(b'""', 1)
        return before, after

    def first(self) -> bytes:
        """The chunks that name the role, before any text."""
        more: dict[str, Any] = {"opens_reasoning": self._opening} if self._opening else {}
        if self._wanted.token_ids:
            more["prompt_token_ids"] = list(self._prompt_tokens)
        role = {"role": "assistant", "content": "", "refusal": None}
        return b"".join(
            self._chunk(role, more, choice=choice) for choice in range(self._wanted.choices)
        )

    def of(self, piece: Piece) -> Iterator[bytes]:
        """The events of one piece; those of the last Finished end the stream."""
        choice = piece.choice
        if isinstance(piece, TextPiece):
            self._written += len(piece.tokens)
            if self._tells_more(piece):
                yield self._chunk({"content": piece.text}, choice=choice, text=piece)
            elif piece.text:
                before, after = self._around[choice]
                yield before + _encode(piece.text).encode() + after
        elif isinstance(piece, ParsedCall):
            function = {"name": piece.name, "arguments": ""}
            if self._form.speaks_of_functions:
                yield self._chunk({"function_call": function}, choice=choice)
                arguments = {"arguments": piece.arguments}
                yield self._chunk({"function_call": arguments}, choice=choice)
                return
            index = self._calls[choice]
            head = {"index": index, "id": piece.id, "type": "function", "function": function}
            yield self._chunk({"tool_calls": [head]}, choice=choice)
            rest = {"index": index, "function": {"arguments": piece.arguments}}
            yield self._chunk({"tool_calls": [rest]}, choice=choice)
            self._calls[choice] += 1
        else:
            yield self._end(piece)

    def _tells_more(self, piece: TextPiece) -> bool:
        """Whether more than the piece's text is told."""
        wanted = self._wanted
        return bool(
            (wanted.logprobs and piece.logprobs)
            or (wanted.token_ids and piece.tokens)
            or (wanted.running_usage and piece.text)
        )

    def _end(self, end: Finished) -> bytes:
        self._ends.append(end)
        is_last, notes = len(self._ends) == self._wanted.choices, self._form.notes()
        more = notes if is_last and not self._wanted.usage else {}
        last = self._chunk({}, more, choice=end.choice, end=end)
        if is_last and self._wanted.usage:
            last += event({**self._head, "choices": [], **figures_of(self._ends), **notes})
        return last + DONE if is_last else last

    def _chunk(
        self,
        delta: Mapping[str, Any],
        more: Mapping[str, Any] | None = None,
        *,
        choice: int,
        end: Finished | None = None,
        text: TextPiece | None = None,
    ) -> bytes:
        wanted = self._wanted
        logprobs: Sequence[TokenLogprob] = text.logprobs if text and wanted.logprobs else ()
        body: dict[str, Any] = {
            "index": choice,
            "delta": delta,
            "logprobs": logprobs_body(logprobs, as_ids=wanted.tokens_as_ids) if logprobs else None,
            "finish_reason": None if end is None else self._form.reason(end.reason),
        }
        if end is not None and end.stop_reason is not None:
            body["stop_reason"] = end.stop_reason  # vLLM's name of it
        if wanted.token_ids and text is not None:
            body["token_ids"] = list(text.tokens)
        chunk: dict[str, Any] = {**self._head, "choices": [body], **(more or {})}
        if wanted.usage:
            so_far = Usage(len(self._prompt_tokens), 0, self._written)
            chunk["usage"] = usage_body(so_far) if wanted.running_usage else None
        return event(chunk)


def completion(
    pieces: Iterable[Piece],
    *,
    id: str,
    model: str,
    created: int,
    wanted: Wanted,
    prompt_tokens: Sequence[int] = (),
    form: AnswerForm = PLAIN_FORM,
) -> dict[str, Any]:
    """The whole answer as one object; the pieces of each choice end with Finished."""
    by_choice: defaultdict[int, list[Piece]] = defaultdict(list)
    for piece in pieces:
        by_choice[piece.choice].append(piece)
    ends = [piece for each in by_choice.values() for piece in each if isinstance(piece, Finished)]
    assert len(ends) == len(by_choice) == wanted.choices, "every choice ends with Finished"
    answer = {
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        **form.head(),
        "choices": [
            _choice(by_choice[choice], choice, wanted, form) for choice in sorted(by_choice)
        ],
        **figures_of(ends),
        **form.notes(),
    }
    if wanted.token_ids:
        answer["prompt_token_ids"] = list(prompt_tokens)
    for end in ends:
        if end.prompt_logprobs is not None:
            answer["prompt_logprobs"] = prompt_logprobs_body(end.prompt_logprobs)
    return answer


def _choice(
    pieces: Sequence[Piece], index: int, wanted: Wanted, form: AnswerForm
) -> dict[str, Any]:
    texts = [piece for piece in pieces if isinstance(piece, TextPiece)]
    calls = [
        {
            "id": piece.id,
            "type": "function",
            "function": {"name": piece.name, "arguments": piece.arguments},
        }
        for piece in pieces
        if isinstance(piece, ParsedCall)
    ]
    end = pieces[-1]
    assert isinstance(end, Finished)
    text = "".join(piece.text for piece in texts)
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
    logprobs = (logprob for piece in texts for logprob in piece.logprobs)
    choice: dict[str, Any] = {
        "index": index,
        "message": message,
        "logprobs": logprobs_body(logprobs, as_ids=wanted.tokens_as_ids)
        if wanted.logprobs
        else None,
        "finish_reason": form.reason(end.reason),
    }
    if end.stop_reason is not None:
        choice["stop_reason"] = end.stop_reason
    if wanted.token_ids:
        choice["token_ids"] = [token for piece in texts for token in piece.tokens]
    return choice
