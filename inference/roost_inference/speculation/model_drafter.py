"""Drafts with a smaller model of the same vocabulary, in a context of its own."""

import time
from collections.abc import Callable
from collections.abc import Sequence as Many
from dataclasses import dataclass, field

import numpy as np

from roost_inference.backend import Backend, DecodeStatus
from roost_inference.batch import Batch
from roost_inference.errors import EngineFailed
from roost_inference.kv.match import common_prefix
from roost_inference.scheduling.cost import StepCost
from roost_inference.sequence import Sequence
from roost_inference.speculation.drafter import Proposal

# Tokens that the draft model computes in one step to catch up with sequences that it has not
# followed. More would hold up the answers.
CATCH_UP_TOKENS = 128


@dataclass(slots=True)
class _Held:
    """What the draft model's KV holds of a sequence."""

    sequence_id: int
    tokens: list[int] = field(default_factory=list)


class ModelDrafter:
    """Proposes what a smaller model would generate, sampled with the sequence's own noise.

    It follows a sequence by its tokens alone, so it drafts as well after a prefix was reused or
    restored as after it was computed. Owns its backend.
    """

    name = "model"

    def __init__(
        self, backend: Backend, cost: StepCost, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._backend = backend
        self._cost = cost
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._free_ids = list(range(backend.sequences - 1, -1, -1))
        self._batch = Batch(max(CATCH_UP_TOKENS, backend.sequences))
        self._closed = False

    def prior(self, slot: int) -> float:
        """As seen with models of one family."""
        return 0.6

    def cost_ms(self, sequences: int, depth: int) -> float:
        """One step of the draft model for each token of depth."""
        return depth * self._cost.busy_ms(sequences, outputs=sequences)

    @property
    def cells_used(self) -> int:
        """KV cells that its sequences take."""
        return sum(len(held.tokens) for held in self._held.values())

    def propose(self, sequences: Many[Sequence], depth: int) -> list[Proposal | None]:
        """What the draft model would generate. Raises EngineFailed."""
        drafts: list[list[int]] = [[] for _ in sequences]
        active = self._catch_up(sequences, depth, drafts)
        for ahead in range(1, depth):
            active = [at for at in active if self._goes_on(sequences[at], drafts[at])]
            if not active:
                break
            self._batch.clear()
            rows = []
            for at in active:
                held = self._held[sequences[at].id]
                rows.append(self._add(held, drafts[at][-1:]))
            started = self._clock()
            self._decode()
            elapsed_ms = (self._clock() - started) * 1000
            self._cost.observe(len(active), 0.0, elapsed_ms, outputs=len(active))
            self._guess(sequences, active, rows, ahead, drafts)
        return [Proposal(draft) if draft else None for draft in drafts]

    def _catch_up(
        self, sequences: Many[Sequence], depth: int, drafts: list[list[int]]
    ) -> list[int]:
        """Compute the tokens that the sequences have and the draft model does not, of the sequence
        that lacks the fewest first. Returns the indexes of the sequences it has caught up with;
        their first token is guessed."""
        self._batch.clear()
        missing = sorted((self._missing(s), at) for at, s in enumerate(sequences))
        active, rows = [], []
        for count, at in missing:
            sequence = sequences[at]
            taken = min(count, self._batch.rows_left)
            if taken == 0 or not self._make_free(taken + depth, sequences):
                continue
            held = self._follow(sequence)
            if held is None:
                continue
            start = len(held.tokens)
            row = self._add(held, sequence.tokens.view[start : start + taken].tolist())
            if taken == count:
                active.append(at)
                rows.append(row)
        if self._batch.size:
            self._decode()
            self._guess(sequences, active, rows, 0, drafts)
        return active

    def _missing(self, sequence: Sequence) -> int:
        """Tokens to compute, after dropping those that turned out otherwise; at least the last."""
        held = self._held.get(sequence.id)
        if held is None:
            return len(sequence.tokens)
        size = len(sequence.tokens)
        known = np.asarray(held.tokens[:size], np.int32)
        length = min(common_prefix(known, sequence.tokens.view), size - 1)
        if length < len(held.tokens):
            self._backend.sequence_remove(held.sequence_id, length)
            del held.tokens[length:]
        return size - length

    def _follow(self, sequence: Sequence) -> _Held | None:
        held = self._held.get(sequence.id)
        if held is None and self._free_ids:
            held = self._held[sequence.id] = _Held(self._free_ids.pop())
        return held

    def _make_free(self, cells: int, keep: Many[Sequence]) -> bool:
        """Drop other sequences than these until `cells` are free; False if that is not enough."""
        kept = {sequence.id for sequence in keep}
        for name in [name for name in self._held if name not in kept]:
            if self.cells_used + cells <= self._backend.cells and self._free_ids:
                break
            self._drop(name)
        return self.cells_used + cells <= self._backend.cells

    def _add(self, held: _Held, tokens: list[int]) -> int:
        row = self._batch.add(tokens, len(held.tokens), held.sequence_id, output=True)
        held.tokens += tokens
        return row

    def _decode(self) -> None:
        status = self._backend.decode(self._batch)
        if status is not DecodeStatus.DONE:
            raise EngineFailed(f"The draft model did not compute its step: {status.value}")

    def _guess(
        self,
        sequences: Many[Sequence],
        active: Many[int],
        rows: Many[int],
        ahead: int,
        drafts: list[list[int]],
    ) -> None:
        for at, row in zip(active, rows, strict=True):
            logits = self._backend.logits(row)
            drafts[at].append(sequences[at].sampler.guess(logits, ahead))

    def _goes_on(self, sequence: Sequence, draft: list[int]) -> bool:
        return draft[-1] not in self._backend.vocabulary.end_tokens and (
            self.cells_used < self._backend.cells
        )

    def _drop(self, name: str) -> None:
        held = self._held.pop(name)
        self._backend.sequence_remove(held.sequence_id, 0)
        self._free_ids.append(held.sequence_id)

    def forget(self, sequence: Sequence, *, finished: bool) -> None:
        """Drop the KV of the sequence."""
        if sequence.id in self._held:
            self._drop(sequence.id)

    def close(self) -> None:
        """Close the backend; safe to call twice."""
        if not self._closed:
            self._closed = True
            self._held.clear()
            self._backend.close()
