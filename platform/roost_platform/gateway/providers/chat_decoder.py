"""Reads the chunks of OpenAI's chat completions as events, whatever an engine leaves out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from roost_inference.client.assembly import (
    ANSWER_CHARACTERS_MAX,
    BROKEN,
    FINISH_REASONS,
    count_of,
    parts_of,
)
from roost_inference.client.call_assembly import CallAssembly
from roost_inference.client.dialects.choices import message_of, reason_of
from roost_inference.client.reasoning import ReasoningFilter, Visible
from roost_inference.client.refusals import error_of
from roost_inference.errors import EngineFailed
from roost_inference.wire.ids import call_id
from roost_platform.gateway.errors import StreamBroken, UnreadableAnswer
from roost_platform.gateway.events import (
    CallDelta,
    Event,
    Finish,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    TextWasReasoning,
    Usage,
)
from roost_platform.gateway.providers.plain_text import CHOICES_MAX, PlainText

WARNINGS_MAX: Final = 32
WARNING_CHARACTERS_MAX: Final = 500
REASONS: Final = frozenset({"stop", "length", "tool_calls", "content_filter"})
ERROR_FIELDS: Final = frozenset({"error", "errors", "message", "detail"})
REASONING_FIELDS: Final = ("reasoning_content", "reasoning", "thinking")


@dataclass(slots=True)
class _Choice:
    """What has come of one choice."""

    index: int
    filter: ReasoningFilter = field(default_factory=ReasoningFilter)
    reasoning_parts: int = 0  # of the filter's list that were told
    calls: CallAssembly = field(default_factory=CallAssembly)
    sent: list[int] = field(default_factory=list)  # characters of each call's arguments told
    ids: set[str] = field(default_factory=set)  # of calls, as told
    has_finished: bool = False
    has_text: bool = False
    shown: int = 0  # characters of text that were told


class ChatDecoder:
    """The events of one streamed answer, or of a whole one sent as a single chunk.

    opening: the tag of a reasoning block that the prompt has opened; the bundled core tells it.
    """

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self.has_started = False
        self._was_ended = False
        self._has_chunks = False
        self.opening = ""
        self._size = 0

    def end_mark(self) -> None:
        """The provider says that nothing more comes."""
        self._was_ended = True

    def feed(self, chunk: Any, *, is_event_error: bool = False) -> list[Event]:
        """The events in one chunk, which may be PlainText. Raises the error that it carries."""
        if type(chunk) is PlainText and not is_event_error:
            return self._plain(chunk)
        if isinstance(chunk, list) and len(chunk) == 1:
            chunk = chunk[0]
        if not isinstance(chunk, dict):
            raise UnreadableAnswer("The provider sent an event that is not an object")
        if is_event_error and ERROR_FIELDS.isdisjoint(chunk):
            raise UnreadableAnswer("The provider's answer has another form than OpenAI's")
        error = error_of(chunk, is_event_error=is_event_error)
        if error is not None:
            raise error
        events: list[Event] = []
        choices = chunk.get("choices")
        self._has_chunks = True
        if not self.has_started and isinstance(choices, list):
            self.has_started = True
            events.append(self._start(chunk))
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                events += self._choice(choice)
        usage = chunk.get("usage")
        if isinstance(usage, dict) and self.has_started:
            events.append(_usage(usage, chunk.get("metrics"), chunk.get("warnings")))
            self._was_ended = self._was_ended or choices == []
        return events

    def passes(self, chunk: PlainText) -> bool:
        """Whether this text was taken, and is the client's as it is. Else it has to be fed."""
        state, size = self._choices.get(chunk.choice), len(chunk.text)
        if state is None or not state.has_text or self._size + size > ANSWER_CHARACTERS_MAX:
            return False
        if not state.filter.passes(chunk.text):
            return False
        self._size += size
        state.shown += size
        return True

    def _plain(self, chunk: PlainText) -> list[Event]:
        """The events of a chunk that says nothing but its text."""
        text, choice = chunk.text, chunk.choice
        state = self._choices.get(choice) or self._state(choice)
        self._grow(len(text))
        state.has_text = True
        if state.filter.passes(text):
            state.shown += len(text)
            return [TextDelta(text, choice)]
        visible = state.filter.feed(text)
        if visible.replaces or len(state.filter.reasoning) != state.reasoning_parts:
            return list(self._shown(state, visible))
        if not visible.text:
            return []
        state.shown += len(visible.text)
        return [TextDelta(visible.text, choice)]

    def _state(self, index: int) -> _Choice:
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _Choice(index, ReasoningFilter(self.opening))
        return state

    def _start(self, chunk: Mapping[str, Any]) -> Started:
        fingerprint, opening = chunk.get("system_fingerprint"), chunk.get("opens_reasoning")
        self.opening = opening if isinstance(opening, str) else self.opening
        return Started(
            id=str(chunk.get("id") or ""),
            model=str(chunk.get("model") or ""),
            fingerprint=fingerprint if isinstance(fingerprint, str) else None,
        )

    def end(self) -> list[Event]:
        """What was held back. Raises StreamBroken where neither a reason nor a mark ended it."""
        events: list[Event] = []
        for choice in self._choices.values():
            if not choice.has_finished:
                if not self._was_ended:
                    raise StreamBroken("The provider's answer ended without an end")
                reason = "tool_calls" if any(True for _ in choice.calls.so_far()) else "stop"
                events += self._finish(choice, reason)
        if self._has_chunks and not self.has_started:
            raise UnreadableAnswer("The provider's answer has another form than OpenAI's")
        if not self._choices and not self._was_ended:
            raise StreamBroken("The provider's answer has no content and no end")
        return events

    def _choice(self, choice: Mapping[str, Any]) -> Iterator[Event]:
        number = choice.get("index")
        index = number if isinstance(number, int) and 0 <= number < CHOICES_MAX else 0
        state = self._state(index)
        message = message_of(choice, has_content=state.has_text or bool(state.sent))
        if not isinstance(message, dict):
            raise UnreadableAnswer("The provider sent a message that is not an object")
        yield from self._message(state, message, choice.get("logprobs"))
        reason = reason_of(choice)
        if reason and not state.has_finished:
            stopped = choice.get("stop_reason")  # vLLM's and the bundled core's
            sequence = stopped if isinstance(stopped, str) and stopped else None
            yield from self._finish(state, reason, sequence)

    def _message(
        self, state: _Choice, message: Mapping[str, Any], logprobs: Any
    ) -> Iterator[Event]:
        for name in REASONING_FIELDS:
            if isinstance(message.get(name), str):
                if message[name]:
                    self._grow(len(message[name]))
                    if not state.has_text:
                        state.filter = ReasoningFilter()  # the engine tells them apart itself
                    yield ReasoningDelta(message[name], state.index)
                break  # some engines send the same text under two names
        refusal = message.get("refusal")
        if isinstance(refusal, str) and refusal:
            yield RefusalDelta(refusal, state.index)
        text = ""
        for kind, part in parts_of({"content": message.get("content")}):
            if kind == "reasoning":
                yield ReasoningDelta(part, state.index)
            else:
                text += part
        entries = _entries(logprobs.get("content")) if isinstance(logprobs, dict) else []
        if text or entries:
            self._grow(len(text))
            state.has_text = state.has_text or bool(text)
            yield from self._shown(state, state.filter.feed(text), entries)
        if message.get("tool_calls") or message.get("function_call"):
            self._grow(state.calls.add_all(message))
            yield from self._calls(state)

    def _shown(self, state: _Choice, visible: Visible, logprobs: Any = ()) -> Iterator[Event]:
        reasoning = "".join(state.filter.reasoning[state.reasoning_parts :])
        state.reasoning_parts = len(state.filter.reasoning)
        if visible.replaces:
            yield TextWasReasoning(state.index)
            reasoning, state.shown = reasoning[state.shown :], 0
        if reasoning:
            yield ReasoningDelta(reasoning, state.index)
        if visible.text or logprobs:
            state.shown += len(visible.text)
            yield TextDelta(visible.text, state.index, tuple(logprobs))

    def _calls(self, state: _Choice) -> Iterator[Event]:
        for index, call in enumerate(state.calls.so_far()):
            if not call.name:
                continue  # a name may still come
            if index >= len(state.sent):
                state.sent += [-1] * (index + 1 - len(state.sent))
            sent = state.sent[index]
            if sent < 0:
                # Results are told apart by ids, which some engines give twice.
                id = call.id if call.id and call.id not in state.ids else call_id()
                state.ids.add(id)
                yield CallDelta(index, id, call.name, choice=state.index)
                sent = 0
            if len(call.arguments) > sent:
                yield CallDelta(index, arguments=call.arguments[sent:], choice=state.index)
            state.sent[index] = len(call.arguments)

    def _finish(self, state: _Choice, reason: str, sequence: str | None = None) -> Iterator[Event]:
        state.has_finished = True
        yield from self._shown(state, state.filter.end())
        reason = reason.lower()
        reason = FINISH_REASONS.get(reason, reason)
        if reason in BROKEN:
            raise BROKEN[reason](f"The engine ended the answer with {reason!r}")
        named = cast(FinishReason, reason if reason in REASONS else "stop")
        yield Finish(named, state.index, sequence)

    def _grow(self, characters: int) -> None:
        self._size += characters
        if self._size > ANSWER_CHARACTERS_MAX:
            raise EngineFailed(f"The answer is longer than {ANSWER_CHARACTERS_MAX} characters")


def _entries(logprobs: Any) -> list[Mapping[str, Any]]:
    """The entries that name a token and its logprob, without alternatives that do not."""
    entries: list[Mapping[str, Any]] = []
    for entry in logprobs if isinstance(logprobs, list) else ():
        if _is_entry(entry):
            tops = entry.get("top_logprobs")
            kept = [top for top in tops if _is_entry(top)] if isinstance(tops, list) else []
            entries.append(entry if kept == tops else {**entry, "top_logprobs": kept})
    return entries


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, Mapping)
        and isinstance(entry.get("token"), str)
        and type(entry.get("logprob")) in (int, float)
    )


def _usage(usage: Mapping[str, Any], metrics: Any, warnings: Any) -> Usage:
    prompt, output = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    cached = prompt.get("cached_tokens") if isinstance(prompt, dict) else None
    thought = output.get("reasoning_tokens") if isinstance(output, dict) else None
    return Usage(
        input_tokens=count_of(usage.get("prompt_tokens")),
        cached_tokens=count_of(cached or usage.get("prompt_cache_hit_tokens")),
        output_tokens=count_of(usage.get("completion_tokens")),
        reasoning_tokens=count_of(thought),
        metrics=metrics if isinstance(metrics, dict) else {},
        warnings=tuple(filter(_is_warning, warnings[:WARNINGS_MAX]))
        if isinstance(warnings, list)
        else (),
    )


def _is_warning(warning: Any) -> bool:
    """Whether it has the form in which the bundled core names fields that it does not heed."""
    return isinstance(warning, dict) and all(
        isinstance(text, str) and len(text) <= WARNING_CHARACTERS_MAX for text in warning.values()
    )
