"""Puts a streamed answer together from its chunks, whatever engines leave out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from roost_inference.client.refusals import error_of
from roost_inference.errors import EngineFailed, EngineUnavailable
from roost_inference.wire.ids import call_id

ANSWER_CHARACTERS_MAX = 4 * 2**20
CALLS_MAX = 256


@dataclass(frozen=True)
class Delta:
    """New text of the answer."""

    text: str = ""


@dataclass(frozen=True)
class ToolCall:
    """A complete call; `arguments` is JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Completed:
    """The whole answer. Token counts are 0 where the engine does not send them; `metrics` is what
    the bundled core and vLLM add."""

    text: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str
    model: str
    message_id: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _OpenCall:
    index: Any
    id: str = ""
    name: str = ""
    arguments: str = ""


class AnswerAssembly:
    """Collects chunks in OpenAI's form into one answer.

    Engines may leave out usage, ids and indexes of calls, the role chunk, and [DONE]; without a
    finish_reason the answer was cut off."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._id = ""
        self._texts: list[str] = []
        self._calls: list[_OpenCall] = []
        self._size = 0
        self._finish_reason: str | None = None
        self._usage: dict[str, Any] = {}
        self._metrics: dict[str, Any] = {}

    def add(self, chunk: Any) -> str:
        """Take one chunk; the new text in it. Raises the error an event carries."""
        if not isinstance(chunk, dict):
            raise EngineFailed("The engine sent an event that is not an object")
        error = error_of(chunk)
        if error is not None:
            raise error
        self._id = str(chunk.get("id") or self._id)
        self._model = str(chunk.get("model") or self._model)
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
        if isinstance(chunk.get("metrics"), dict):
            self._metrics = chunk["metrics"]
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            return ""
        choice = choices[0]
        delta = choice.get("delta")
        text = self._add_delta(delta) if isinstance(delta, dict) else ""
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        return text

    def _add_delta(self, delta: dict[str, Any]) -> str:
        for call in delta.get("tool_calls") or ():
            self._add_call(call)
        text = delta.get("content") or delta.get("refusal") or ""
        if not isinstance(text, str):
            raise EngineFailed("The engine sent content that is not text")
        self._grow(len(text))
        if text:
            self._texts.append(text)
        return text

    def _add_call(self, delta: dict[str, Any]) -> None:
        function = delta.get("function") or {}
        name, id = str(function.get("name") or ""), str(delta.get("id") or "")
        arguments = function.get("arguments") or ""
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments)
        self._grow(len(arguments))
        call = self._call_at(delta.get("index"), id, name)
        call.id = call.id or id
        call.name = call.name or name
        call.arguments += arguments

    def _call_at(self, index: Any, id: str, name: str) -> _OpenCall:
        """The call a delta belongs to. Some engines number every call 0, or none: there another
        id, or a second name, begins the next call."""
        same = [call for call in self._calls if index is None or call.index == index]
        current = same[-1] if same else None
        if current is not None:
            another_id = bool(id and current.id and id != current.id)
            second_name = bool(name and current.name and not (id and id == current.id))
            if not another_id and not second_name:
                return current
        if len(self._calls) >= CALLS_MAX:
            raise EngineFailed(f"The engine sent more than {CALLS_MAX} tool calls")
        call = _OpenCall(index)
        self._calls.append(call)
        return call

    def _grow(self, characters: int) -> None:
        self._size += characters
        if self._size > ANSWER_CHARACTERS_MAX:
            raise EngineFailed(f"The answer is longer than {ANSWER_CHARACTERS_MAX} characters")

    def completed(self) -> Completed:
        """The answer, after the last chunk. Raises EngineUnavailable if its end is missing."""
        if self._finish_reason is None:
            raise EngineUnavailable("The connection to the engine was lost in mid-answer")
        details = self._usage.get("prompt_tokens_details") or {}
        calls = tuple(
            ToolCall(call.id or call_id(), call.name, call.arguments or "{}")
            for call in self._calls
        )
        return Completed(
            text="".join(self._texts),
            tool_calls=calls,
            finish_reason=self._finish_reason,
            model=self._model,
            message_id=self._id,
            prompt_tokens=int(self._usage.get("prompt_tokens") or 0),
            cached_tokens=int(details.get("cached_tokens") or 0),
            completion_tokens=int(self._usage.get("completion_tokens") or 0),
            metrics=self._metrics,
        )
