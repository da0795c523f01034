"""Completions of plain text in OpenAI's older shape: one JSON object, or the chunks of a stream."""

import codecs
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from roost_inference.http.answer.figures import figures_of, logprobs_body, usage_body
from roost_inference.http.exchange import StreamedResponse
from roost_inference.http.generation import Finished, TextPiece
from roost_inference.http.plain_text.answers import ChoicePiece, PlainAnswers
from roost_inference.http.replies import DONE, AnswerForm, Wanted, event
from roost_inference.request import TokenLogprob, Usage
from roost_inference.wire.completion_call import CompletionCall


class CompletionResponse(StreamedResponse[ChoicePiece]):
    """The answer to a request for completions."""

    def __init__(self, answers: PlainAnswers, call: CompletionCall) -> None:
        fields, form = call.fields, AnswerForm(warnings=call.warnings)
        super().__init__(answers, form, is_stream=fields.stream)
        options = fields.stream_options
        self._answers = answers
        self._fields = fields
        self._wanted = Wanted(
            choices=answers.choices,
            logprobs=fields.logprobs is not None,
            tokens_as_ids=bool(call.settings.return_tokens_as_token_ids),
            usage=options is not None and options.include_usage,
            running_usage=call.wants_running_usage,
        )

    def writer(self) -> "CompletionChunks":
        """See StreamedResponse."""
        return CompletionChunks(self._answers, self._head(), self._form, self._wanted)

    def whole(self, pieces: list[ChoicePiece]) -> dict[str, Any]:
        """See StreamedResponse."""
        choices, wanted = [], self._wanted
        for number in range(self._answers.choices):
            own = [piece for choice, piece in pieces if choice == number]
            texts = [piece for piece in own if isinstance(piece, TextPiece)]
            before = self._answers.prompt_of(number)
            text = before + "".join(piece.text for piece in texts)
            end = next(piece for piece in own if isinstance(piece, Finished))
            logprobs = None
            if wanted.logprobs:
                tokens = [token for piece in texts for token in piece.logprobs]
                offsets = TextOffsets(len(before))
                logprobs = older_logprobs(tokens, offsets, as_ids=wanted.tokens_as_ids)
                if self._fields.tells_prompt:
                    prompt = self._prompt_logprobs(number, pieces)
                    logprobs = {name: [*prompt[name], *logprobs[name]] for name in logprobs}
            choices.append(_choice(number, text, logprobs, end))
        ends = [(choice, piece) for choice, piece in pieces if isinstance(piece, Finished)]
        return {
            **self._head(),
            "choices": choices,
            **_figures(ends, self._answers),
            **self._form.notes(),
        }

    def _prompt_logprobs(self, number: int, pieces: list[ChoicePiece]) -> dict[str, Any]:
        """Those of a choice's prompt, which its first choice tells. The first token has none."""
        first = number - number % self._answers.n
        told = next(
            piece.prompt_logprobs or ()
            for choice, piece in pieces
            if choice == first and isinstance(piece, Finished)
        )
        found = [None if token is None else token.found for token in told]
        start, offsets = self._answers.first_token_of(number), TextOffsets()
        first_offset = offsets.of(start)
        known = [token for token in found if token is not None]
        rest = older_logprobs(known, offsets, as_ids=self._wanted.tokens_as_ids)
        return {
            "tokens": [start.decode("utf-8", "replace"), *rest["tokens"]],
            "token_logprobs": [None, *rest["token_logprobs"]],
            "top_logprobs": [None, *rest["top_logprobs"]],
            "text_offset": [first_offset, *rest["text_offset"]],
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
        self, answers: PlainAnswers, head: Mapping[str, Any], form: AnswerForm, wanted: Wanted
    ) -> None:
        self._answers = answers
        self._head = head
        self._form = form
        self._wanted = wanted
        self._offsets = [
            TextOffsets(len(answers.prompt_of(number))) for number in range(answers.choices)
        ]
        self._written = 0
        self._ends: list[tuple[int, Finished]] = []

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
            self._written += len(part.tokens)
            logprobs, offsets = None, self._offsets[number]
            if self._wanted.logprobs and part.logprobs:
                as_ids = self._wanted.tokens_as_ids
                logprobs = older_logprobs(part.logprobs, offsets, as_ids=as_ids)
            if part.text or logprobs:
                yield self._chunk(_choice(number, part.text, logprobs))
        elif isinstance(part, Finished):
            self._ends.append((number, part))
            yield from self._end(number, part)

    def _end(self, number: int, end: Finished) -> Iterator[bytes]:
        is_last = len(self._ends) == self._answers.choices
        notes = self._form.notes() if is_last else {}
        yield self._chunk(_choice(number, "", None, end), {} if self._wanted.usage else notes)
        if is_last and self._wanted.usage:
            figures = _figures(self._ends, self._answers)
            yield event({**self._head, "choices": [], **figures, **notes})
        if is_last:
            yield DONE

    def _chunk(self, choice: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> bytes:
        chunk: dict[str, Any] = {**self._head, "choices": [choice], **(more or {})}
        if self._wanted.usage:
            so_far = Usage(self._answers.prompt_tokens, 0, self._written)
            chunk["usage"] = usage_body(so_far) if self._wanted.running_usage else None
        return event(chunk)


class TextOffsets:
    """Where tokens begin in a text, in characters. A token that goes on with a character begins
    where that one does."""

    def __init__(self, start: int = 0) -> None:
        self._place = start
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def of(self, token: bytes) -> int:
        """The offset of the next token."""
        before = self._place
        self._place += len(self._decoder.decode(token))
        return before


def older_logprobs(
    tokens: Iterable[TokenLogprob], offsets: TextOffsets, *, as_ids: bool = False
) -> dict[str, Any]:
    """Logprobs in the form of completions, the chosen token among the likeliest ones. offsets: of
    the text up to these tokens. as_ids: see logprobs_body."""
    tokens = list(tokens)
    entries = logprobs_body(tokens, as_ids=as_ids)["content"]
    return {
        "tokens": [entry["token"] for entry in entries],
        "token_logprobs": [entry["logprob"] for entry in entries],
        "top_logprobs": [
            {each["token"]: each["logprob"] for each in (*entry["top_logprobs"], entry)}
            for entry in entries
        ],
        "text_offset": [offsets.of(token.data) for token in tokens],
    }


def _choice(
    number: int, text: str, logprobs: Mapping[str, Any] | None, end: Finished | None = None
) -> dict[str, Any]:
    choice: dict[str, Any] = {
        "index": number,
        "text": text,
        "logprobs": logprobs,
        "finish_reason": None if end is None else end.reason,
    }
    if end is not None and end.stop_reason is not None:
        choice["stop_reason"] = end.stop_reason
    return choice


def _figures(ends: Iterable[tuple[int, Finished]], answers: PlainAnswers) -> dict[str, Any]:
    """The usage of all choices, where each prompt counts once, and the metrics of a single one."""
    by_number = dict(ends)
    if len(answers.prompts) == 1:
        return figures_of(list(by_number.values()))
    firsts = [by_number[number].usage for number in range(0, answers.choices, answers.n)]
    total = Usage(
        sum(usage.prompt_tokens for usage in firsts),
        sum(usage.cached_tokens for usage in firsts),
        sum(end.usage.completion_tokens for end in by_number.values()),
    )
    only_usage = replace(by_number[0], usage=total, timings=None, speculation=None)
    return figures_of([only_usage])
