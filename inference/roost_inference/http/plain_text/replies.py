"""Completions of plain text in OpenAI's older shape: one JSON object, or the chunks of a stream."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from roost_inference.http.exchange import StreamedResponse
from roost_inference.http.generation import Finished, TextPiece
from roost_inference.http.plain_text.answers import ChoicePiece, PlainAnswers
from roost_inference.http.replies import DONE, AnswerForm, event, figures_of, logprob_entries
from roost_inference.request import TokenLogprob, Usage
from roost_inference.wire.completion_call import CompletionCall


class CompletionResponse(StreamedResponse[ChoicePiece]):
    """The answer to a request for completions."""

    def __init__(self, answers: PlainAnswers, call: CompletionCall) -> None:
        fields, form = call.fields, AnswerForm(warnings=call.warnings)
        super().__init__(answers, form, is_stream=fields.stream)
        self._answers = answers
        self._fields = fields

    def writer(self) -> "CompletionChunks":
        """See StreamedResponse."""
        options = self._fields.stream_options
        return CompletionChunks(
            self._answers,
            self._head(),
            self._form,
            include_usage=options is not None and options.include_usage,
            logprobs=self._fields.logprobs is not None,
        )

    def whole(self, pieces: list[ChoicePiece]) -> dict[str, Any]:
        """See StreamedResponse."""
        choices, has_logprobs = [], self._fields.logprobs is not None
        for number in range(self._answers.choices):
            own = [piece for choice, piece in pieces if choice == number]
            before = self._answers.prompt_of(number)
            text = "".join(piece.text for piece in own if isinstance(piece, TextPiece))
            tokens = [t for piece in own if isinstance(piece, TextPiece) for t in piece.logprobs]
            end = next(piece for piece in own if isinstance(piece, Finished))
            logprobs = older_logprobs(tokens, len(before)) if has_logprobs else None
            choices.append(_choice(number, before + text, logprobs, end))
        ends = [piece for _, piece in pieces if isinstance(piece, Finished)]
        return {
            **self._head(),
            "choices": choices,
            **_figures(ends, self._answers),
            **self._form.notes(),
        }

    def _head(self) -> dict[str, Any]:
        return {
            "id": self._answers.id,
            "object": "text_completion",
            "created": self._created,
            "model": self._answers.model,
            **self._form.head(),
        }


class CompletionChunks:
    """The chunks of one stream; each has a piece of one choice."""

    def __init__(
        self,
        answers: PlainAnswers,
        head: Mapping[str, Any],
        form: AnswerForm,
        *,
        include_usage: bool,
        logprobs: bool,
    ) -> None:
        self._answers = answers
        self._head = head
        self._form = form
        self._include_usage = include_usage
        self._has_logprobs = logprobs
        self._lengths = [len(answers.prompt_of(number)) for number in range(answers.choices)]
        self._ends: list[Finished] = []

    def first(self) -> bytes:
        """The prompts, for choices that begin with theirs."""
        texts = (self._answers.prompt_of(number) for number in range(self._answers.choices))
        return b"".join(
            self._chunk(_choice(number, text, None)) for number, text in enumerate(texts) if text
        )

    def of(self, piece: ChoicePiece) -> Iterator[bytes]:
        """The events of one piece; those of the last choice's end close the stream."""
        number, part = piece
        if isinstance(part, TextPiece):
            logprobs = None
            if self._has_logprobs and part.logprobs:
                logprobs = older_logprobs(part.logprobs, self._lengths[number])
            self._lengths[number] += len(part.text)
            if part.text or logprobs:
                yield self._chunk(_choice(number, part.text, logprobs))
        elif isinstance(part, Finished):
            self._ends.append(part)
            is_last = len(self._ends) == self._answers.choices
            notes = self._form.notes() if is_last else {}
            yield self._chunk(_choice(number, "", None, part), {} if self._include_usage else notes)
            if is_last and self._include_usage:
                figures = _figures(self._ends, self._answers)
                yield event({**self._head, "choices": [], **figures, **notes})
            if is_last:
                yield DONE

    def _chunk(self, choice: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> bytes:
        chunk = {**self._head, "choices": [choice], **(more or {})}
        return event({**chunk, "usage": None} if self._include_usage else chunk)


def older_logprobs(tokens: Iterable[TokenLogprob], start: int) -> dict[str, Any]:
    """Logprobs in the form of completions, the chosen token among the likeliest ones. start: where
    the first token stands in the text, in characters."""
    entries, offsets = logprob_entries(tokens), []
    for entry in entries:
        offsets.append(start)
        start += len(entry["token"])
    return {
        "tokens": [entry["token"] for entry in entries],
        "token_logprobs": [entry["logprob"] for entry in entries],
        "top_logprobs": [
            {each["token"]: each["logprob"] for each in (*entry["top_logprobs"], entry)}
            for entry in entries
        ],
        "text_offset": offsets,
    }


def _choice(
    number: int, text: str, logprobs: Mapping[str, Any] | None, end: Finished | None = None
) -> dict[str, Any]:
    choice = {
        "index": number,
        "text": text,
        "logprobs": logprobs,
        "finish_reason": None if end is None else end.reason,
    }
    if end is not None and end.stop_string is not None:
        choice["stop_reason"] = end.stop_string
    return choice


def _figures(ends: Sequence[Finished], answers: PlainAnswers) -> dict[str, Any]:
    """The usage of all choices, where a prompt counts once, and the metrics of a single one."""
    if len(ends) == 1:
        return figures_of(ends[0])
    per_prompt = answers.choices // len(answers.prompts)
    usages = [end.usage for end in ends]
    total = Usage(
        sum(usage.prompt_tokens for usage in usages) // per_prompt,
        sum(usage.cached_tokens for usage in usages) // per_prompt,
        sum(usage.completion_tokens for usage in usages),
    )
    return figures_of(Finished("stop", total))
