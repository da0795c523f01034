"""Judges differences of answers by logits computed again; measures how logits change by chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from roost_inference.backend import DecodeStatus, Logits
from roost_inference.batch import Batch
from roost_inference.errors import EngineFailed
from roost_inference.llama.backend import LlamaBackend

REFERENCE_TOKENS_MAX = 2048
# Rows of one decode in which drafts are verified, more or less.
FEW_ROWS = 8


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two answers to a prompt first differ, and how far apart the logits of the two tokens
    are there. Each conversation has two prompts; prompts are numbered through."""

    prompt: int
    position: int
    gap: float


class Judge:
    """Logits of a text's next tokens, computed on a context of its own."""

    def __init__(self, model: Path, threads: int, answer_tokens: int) -> None:
        size = REFERENCE_TOKENS_MAX
        self._backend = LlamaBackend(
            model,
            cells=size,
            sequences=1,
            batch_tokens=size,
            outputs=answer_tokens + 1,
            threads=threads,
            kv_type="f16",
        )
        self._batch = Batch(size)

    def first_difference(
        self, number: int, prompt: Sequence[int], one: Sequence[int], other: Sequence[int]
    ) -> Difference | None:
        """None if the answers are equal."""
        if list(one) == list(other):
            return None
        pairs = enumerate(zip(one, other, strict=False))
        place = next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))
        logits = self._logits([*prompt, *one[:place]])
        gap = abs(self._of(logits, one, place) - self._of(logits, other, place))
        return Difference(number, place, gap)

    def _of(self, logits: Logits, answer: Sequence[int], place: int) -> float:
        """The logit of the answer's token there; the likeliest end where it has ended."""
        ends = self._backend.vocabulary.end_tokens
        return float(logits[answer[place]] if place < len(answer) else logits[list(ends)].max())

    def changes(self, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
        """How much the lead of the likeliest token over the second one changes, at each token of
        the answer, if the answer is computed row by row or in pieces instead of in one batch."""
        before, rest = prompt[:-1], [prompt[-1], *answer[:-1]]
        together = self._in_pieces(before, rest, len(rest))
        changes: list[float] = []
        for rows in (1, FEW_ROWS):
            for one, other in zip(together, self._in_pieces(before, rest, rows), strict=True):
                second, first = np.argsort(one)[-2:]
                lead = one[first] - one[second]
                changes.append(abs(float(lead - (other[first] - other[second]))))
        return changes

    def _in_pieces(self, before: Sequence[int], rest: Sequence[int], rows: int) -> list[Logits]:
        """The logits after each token of the rest, `rows` tokens at a time; the first batch also
        holds the tokens before."""
        logits = self._decode(before, rest[:rows])
        for place in range(rows, len(rest), rows):
            logits += self._decode((), rest[place : place + rows], held=len(before) + place)
        self._backend.sequence_remove(0, 0)
        return logits

    def _logits(self, tokens: list[int]) -> Logits:
        (logits,) = self._decode(tokens[:-1], tokens[-1:])
        self._backend.sequence_remove(0, 0)
        return logits

    def _decode(self, silent: Sequence[int], wanted: Sequence[int], held: int = 0) -> list[Logits]:
        """The logits after each of the wanted tokens; one batch holds the silent ones and them."""
        batch = self._batch
        batch.clear()
        if silent:
            batch.add(np.asarray(silent, np.int32), held, 0, output=False)
        batch.add(np.asarray(wanted, np.int32), held + len(silent), 0, every_output=True)
        if self._backend.decode(batch) is not DecodeStatus.DONE:
            raise EngineFailed("The reference was not computed")
        rows = range(batch.size - len(wanted), batch.size)
        return [self._backend.logits(row).copy() for row in rows]

    def close(self) -> None:
        """Give back the context."""
        self._backend.close()
