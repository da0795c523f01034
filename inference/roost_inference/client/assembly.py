"""Puts a streamed answer together from its chunks, whatever engines leave out."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from roost_inference.client.call_assembly import CallAssembly, ToolCall
from roost_inference.client.characters import split_half, whole
from roost_inference.client.dialects.choices import message_of, reason_of
from roost_inference.client.dialects.ends import without_end_tokens
from roost_inference.client.reasoning import ReasoningFilter, Visible
from roost_inference.client.refusals import error_of
from roost_inference.errors import EngineFailed, EngineUnavailable

__all__ = ["Completed", "Delta", "ToolCall"]

ANSWER_CHARACTERS_MAX = 4 * 2**20
COUNT_MAX: Final = 10**9  # of tokens; more is nonsense
UNFINISHED: Final = "unknown"  # the finish reason where the engine gives none
# How engines say why an answer ended, in lower case, in OpenAI's words.
FINISH_REASONS: Final = {
    "max_tokens": "length",
    "model_length": "length",
    "model_context_window_exceeded": "length",
    "end_turn": "stop",
    "eos": "stop",
    "stop_sequence": "stop",
    "eos_token": "stop",
    "complete": "stop",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "safety": "content_filter",
    "recitation": "content_filter",
    "prohibited_content": "content_filter",
    "blocklist": "content_filter",
    "spii": "content_filter",
    "content_filtered": "content_filter",
    "refusal": "content_filter",
    "guardrail_intervened": "content_filter",
    "sensitive": "content_filter",
}
BROKEN: Final = {  # no answer at all: DeepSeek, OpenRouter, Gemini
    "insufficient_system_resource": EngineUnavailable,
    "error": EngineFailed,
    "abort": EngineUnavailable,
    "malformed_function_call": EngineFailed,
    "unexpected_tool_call": EngineFailed,
}


@dataclass(frozen=True)
class Delta:
    """New text of the answer. `replaces`: all text before it was reasoning, as it turned out."""

    text: str = ""
    replaces: bool = False


@dataclass(frozen=True)
class Completed:
    """The whole answer. Token counts are 0 where the engine does not send them; `metrics` is what
    the bundled core and vLLM add.

    finish_reason: stop, length, tool_calls or content_filter; `unknown` where the engine gives none
        of them, or its own word. reasoning: what the model thought, which is no part of the text.
    """

    text: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str
    model: str
    message_id: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    metrics: Mapping[str, Any] = field(default_factory=dict)
    reasoning: str = ""


class AnswerUnfinished(EngineUnavailable):
    """The connection to the engine was lost in mid-answer, or the engine sends no end of answers.

    completed: the answer so far, for whoever gives up asking again.
    """

    def __init__(self, completed: Completed) -> None:
        super().__init__("The connection to the engine was lost in mid-answer")
        self.completed = completed


class AnswerAssembly:
    """Collects chunks in OpenAI's form, or one whole message, into one answer.

    Engines may leave out usage, ids and indexes of calls, the role chunk, and [DONE]. Reasoning is
    kept apart, in fields of its own or in the text (see ReasoningFilter). tools: the names that
    were offered.
    """

    def __init__(self, model: str, tools: Collection[str] = ()) -> None:
        self._model = model
        self._id = ""
        self._texts: list[str] = []
        self._reasoning: list[str] = []
        self._filter = ReasoningFilter()
        self._calls = CallAssembly(tools)
        self._half = ""
        self._size = 0
        self._finish_reason: str | None = None
        self._usage: dict[str, Any] = {}
        self._metrics: dict[str, Any] = {}
        self._was_ended = False
        self._has_begun = False

    def end_mark(self) -> None:
        """The engine says that nothing more comes: [DONE], or the end of a whole message."""
        self._was_ended = True

    def add(self, chunk: Any, *, is_event_error: bool = False) -> Delta:
        """Take one chunk; the new text in it. Raises the error an event carries."""
        if isinstance(chunk, list) and len(chunk) == 1:
            chunk = chunk[0]
        if not isinstance(chunk, dict):
            raise EngineFailed("The engine sent an event that is not an object")
        error = error_of(chunk, is_event_error=is_event_error)
        if error is not None:
            raise error
        opening = chunk.get("opens_reasoning")
        if isinstance(opening, str) and not self._has_begun:
            self._filter = ReasoningFilter(opening)
        self._has_begun = True
        self._id = str(chunk.get("id") or self._id)
        self._model = str(chunk.get("model") or self._model)
        self._usage = usage_of(chunk) or self._usage
        if isinstance(chunk.get("metrics"), dict):
            self._metrics = chunk["metrics"]
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            self._was_ended = self._was_ended or (choices == [] and bool(self._usage))
            return Delta()
        choice = choices[0]
        message = message_of(choice, has_content=self._size > 0)
        if not message and isinstance(choice.get("text"), str):
            message = {"content": choice["text"]}
        if not isinstance(message, dict):
            raise EngineFailed("The engine sent a message that is not an object")
        delta = self._add_message(message)
        self._finish_reason = reason_of(choice) or self._finish_reason
        return delta

    def _add_message(self, message: Mapping[str, Any]) -> Delta:
        self._grow(self._calls.add_all(message))
        for name in ("reasoning_content", "reasoning", "thinking"):
            if isinstance(message.get(name), str):
                self._add_reasoning(message[name])
                break  # some engines send the same text under two names
        text = ""
        for kind, part in parts_of(message):
            if kind == "reasoning":
                self._add_reasoning(part)
            else:
                text += part
        self._grow(len(text))
        text, self._half = split_half(self._half + text) if text else (text, self._half)
        return self._shown(self._filter.feed(whole(text))) if text else Delta()

    def _add_reasoning(self, text: str) -> None:
        self._grow(len(text))
        self._reasoning.append(text)

    def _shown(self, visible: Visible) -> Delta:
        if visible.replaces:
            self._texts.clear()
        if visible.text:
            self._texts.append(visible.text)
        return Delta(visible.text, visible.replaces)

    def _grow(self, characters: int) -> None:
        self._size += characters
        if self._size > ANSWER_CHARACTERS_MAX:
            raise EngineFailed(f"The answer is longer than {ANSWER_CHARACTERS_MAX} characters")

    def end(self) -> Delta:
        """The text that was held back, when nothing more comes."""
        first = self._shown(self._filter.feed(whole(self._half))) if self._half else Delta()
        self._half = ""
        last = self._shown(self._filter.end())
        said = "".join(self._texts)
        whole_text = without_end_tokens(said)
        if whole_text != said:
            self._texts = [whole_text]
            return Delta(whole_text, replaces=True)
        text = last.text if last.replaces else first.text + last.text
        return Delta(text, first.replaces or last.replaces)

    def completed(self) -> Completed:
        """The answer, after `end`. Raises AnswerUnfinished if neither a reason nor a mark ended it,
        or if it ends with a call that did not come; what the engine calls broken raises
        EngineFailed or EngineUnavailable.
        """
        reason = (self._finish_reason or UNFINISHED).lower()
        reason = FINISH_REASONS.get(reason, reason)
        if reason in BROKEN:
            raise BROKEN[reason](f"The engine ended the answer with {reason!r}")
        calls = self._calls.completed()
        if reason == UNFINISHED and calls and self._was_ended:
            reason = "tool_calls"
        details = self._usage.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, dict) else None
        completed = Completed(
            text="".join(self._texts),
            tool_calls=calls,
            finish_reason=reason,
            model=self._model,
            message_id=self._id,
            prompt_tokens=count_of(_first(self._usage, "prompt_tokens", "input_tokens")),
            cached_tokens=count_of(cached or self._usage.get("prompt_cache_hit_tokens")),
            completion_tokens=count_of(_first(self._usage, "completion_tokens", "output_tokens")),
            metrics=self._metrics,
            reasoning="".join([*self._reasoning, *self._filter.reasoning]),
        )
        if self._finish_reason is None and not self._was_ended:
            raise AnswerUnfinished(completed)
        if reason == "tool_calls" and not calls:
            # The rest was lost on the way: what it says is no answer yet.
            if not completed.text.strip():
                raise EngineFailed("The engine says that it calls a tool, and names none")
            raise AnswerUnfinished(replace(completed, finish_reason=UNFINISHED))
        return completed


def usage_of(chunk: Mapping[str, Any]) -> dict[str, Any]:
    """The counts of tokens in a chunk; Groq may have them in a field of its own."""
    inside = chunk.get("x_groq")
    named = (chunk.get("usage"), inside.get("usage") if isinstance(inside, dict) else None)
    return next((one for one in named if isinstance(one, dict)), {})


def _first(values: Mapping[str, Any], *names: str) -> Any:
    return next((values[name] for name in names if values.get(name) is not None), None)


def parts_of(message: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a message says, as (text or reasoning, text)."""
    content = message.get("content")
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            yield "text", part
        elif isinstance(part, Mapping):
            yield _part_of(part)
        elif part is not None:
            raise EngineFailed("The engine sent content that is not text")
    refusal = message.get("refusal")
    if isinstance(refusal, str):
        yield "text", refusal


def _part_of(part: Mapping[str, Any]) -> tuple[str, str]:
    kind = str(part.get("type") or "text")
    is_reasoning = kind.startswith(("thinking", "reasoning"))
    for name in ("text", "refusal", "thinking", "reasoning", "content"):
        value = part.get(name)
        if isinstance(value, list):  # Mistral: parts in a part
            value = "".join(
                str(one.get("text") or "") if isinstance(one, Mapping) else str(one)
                for one in value
            )
        if isinstance(value, str):
            return ("reasoning" if is_reasoning else "text"), value
    return "text", ""  # a picture, or a kind that does not exist yet


def count_of(value: Any) -> int:
    """A count of tokens as an engine sends it; nonsense counts as 0."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and 0 <= value < COUNT_MAX else 0
