"""Who is computed in the next step: decode first, then prompts in order, within one budget.

    waiting ──admit──▶ running (prefilling → decoding) ──finish──▶ resident in the KV cache
       ▲                  │
       └────preempt───────┘   when cells run out: the lowest in rank starts over later

Rank is priority, then arrival. The first in rank is never preempted and always fits alone, so
every sequence comes to its end.
"""

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from roost_inference.batch import Batch
from roost_inference.kv.cache import KvCache
from roost_inference.kv.match import NO_MATCH, Match, common_prefix
from roost_inference.pacing import Pacer
from roost_inference.sequence import Sequence
from roost_inference.speculation.speculator import Candidate, Draft, Speculator

# Cells kept free for each running sequence when another is admitted: fewer preemptions.
DECODE_RESERVE_CELLS = 32
# A prompt waits for a running one to compute their common prefix if that saves this much.
SHARED_PREFIX_MIN = 32
# Waiting sequences looked at in one step: matching prefixes takes time.
ADMISSIONS_PER_STEP = 16


@dataclass(slots=True)
class Row:
    """`count` tokens of a sequence in this step; `output` is the batch row with logits, if the
    last token of the sequence is among them."""

    sequence: Sequence
    count: int
    output: int | None
    # What is verified after the last token, and the batch row of its first token.
    draft: Draft | None = None
    draft_row: int = 0

    @property
    def drafted(self) -> int:
        return 0 if self.draft is None else len(self.draft.tokens)


@dataclass(slots=True)
class Step:
    """What one decode computes."""

    batch: Batch
    rows: list[Row] = field(default_factory=list)
    decoding: int = 0
    prefill_tokens: int = 0
    draft_tokens: int = 0
    expected_ms: float = 0.0


class Scheduler:
    """Holds every unfinished sequence; owns no thread and no clock."""

    def __init__(
        self,
        cache: KvCache,
        pacer: Pacer,
        *,
        batch_tokens: int,
        max_running: int,
        context_length: int,
        speculator: Speculator | None = None,
    ) -> None:
        self.running: list[Sequence] = []
        self.pacer = pacer
        self.preemptions_total = 0
        self._cache = cache
        self._batch = Batch(batch_tokens)
        self._max_running = max_running
        self._context_length = context_length
        self._speculator = speculator
        self._waiting: list[tuple[tuple[int, int], Sequence]] = []

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def has_work(self) -> bool:
        return bool(self.running or self._waiting)

    def add(self, sequence: Sequence) -> None:
        heapq.heappush(self._waiting, (sequence.rank, sequence))

    def sequences(self) -> Iterator[Sequence]:
        """Everything unfinished, running first."""
        yield from tuple(self.running)
        yield from tuple(sequence for _, sequence in self._waiting)

    def schedule(self, now: float) -> Step | None:
        """The next step, its cells reserved; None if there is nothing to compute."""
        self._admit(now)
        if not self.running:
            return None
        self._batch.clear()
        step = Step(self._batch)
        self._add_decoding(step)
        self._add_prefilling(step)
        step.expected_ms = self.pacer.estimate_ms(step.decoding, step.prefill_tokens)
        if self._speculator is not None and step.decoding:
            self._add_drafts(step, self._speculator)
        return step if step.rows else None

    def complete(self, step: Step) -> None:
        """The step was computed: its tokens are in the KV."""
        for row in step.rows:
            row.sequence.computed += row.count

    def settle(self, row: Row, accepted: int) -> None:
        """Of the row's draft the first `accepted` tokens are part of the sequence now; the KV of
        the others goes. Call after `complete`, before the sequence is removed."""
        sequence = row.sequence
        sequence.computed += accepted
        if accepted < row.drafted and sequence.sequence_id is not None:
            self._cache.rollback(sequence.sequence_id, sequence.computed)

    def undo(self, step: Step) -> None:
        """The step was not computed: give its cells back; its tokens are pending as before."""
        for row in step.rows:
            sequence = row.sequence
            if sequence.sequence_id is not None:
                sequence.computed = self._cache.rollback(sequence.sequence_id, sequence.computed)

    def remove(self, sequence: Sequence) -> None:
        """Take a finished or aborted sequence out; its computed KV stays for the next turn."""
        if sequence in self.running:
            self.running.remove(sequence)
            self._cache.retire(sequence)
        else:
            self._cache.forget(sequence)
            self._waiting = [entry for entry in self._waiting if entry[1] is not sequence]
            heapq.heapify(self._waiting)

    def check(self) -> None:
        """Raise AssertionError if cells, ids or states do not add up."""
        self._cache.check(self.running)
        assert len(self.running) <= self._max_running, "too many run"
        for sequence in self.running:
            assert sequence.pending > 0, "a running sequence has nothing to compute"
        for _, sequence in self._waiting:
            assert sequence.sequence_id is None and sequence.computed == 0, "waits with KV"

    def _admit(self, now: float) -> None:
        """Move waiting sequences to running, in rank, as long as they fit."""
        deferred: list[Sequence] = []
        for _ in range(ADMISSIONS_PER_STEP):
            if not self._waiting or len(self.running) >= self._max_running:
                break
            sequence = self._waiting[0][1]
            match = self._cache.match(sequence, self.running)
            if self._cache.is_fetching(sequence) or self._will_be_computed(sequence, match):
                deferred.append(heapq.heappop(self._waiting)[1])
                continue
            found = self._fitting(sequence, match)
            if found is None:
                break
            heapq.heappop(self._waiting)
            self._start(sequence, found, now)
        for sequence in deferred:
            self.add(sequence)

    def _start(self, sequence: Sequence, match: Match, now: float) -> None:
        self._cache.claim(match, sequence)
        if sequence.started_s is None:
            sequence.started_s = now
            sequence.cached_tokens = sequence.computed
        self.running.append(sequence)

    def _fitting(self, sequence: Sequence, match: Match) -> Match | None:
        """The match, or none of it if only that leaves room; None if it has to wait."""
        reserved = sum(s.pending + DECODE_RESERVE_CELLS for s in self.running)
        for option in (match, NO_MATCH):
            if self._cache.fits(option, len(sequence.tokens) - option.held + reserved):
                return option
        # Alone, a sequence always fits: its length is bounded by the context.
        return None if self.running else NO_MATCH

    def _will_be_computed(self, sequence: Sequence, match: Match) -> bool:
        """Whether a running prompt is about to compute clearly more of this one's prefix."""
        wanted = sequence.tokens.view[:-1]
        return any(
            common_prefix(other.tokens.view, wanted) >= match.length + SHARED_PREFIX_MIN
            for other in self.running
            if not other.is_decoding and other.request.cache_salt == sequence.request.cache_salt
        )

    def _add_decoding(self, step: Step) -> None:
        for sequence in sorted(self.running, key=lambda s: s.rank):
            if sequence.is_decoding and self._reserve_one(sequence, step):
                self._add(step, sequence, 1)
                step.decoding += 1

    def _reserve_one(self, sequence: Sequence, step: Step) -> bool:
        """A cell for the next token, preempting from the end of the rank; False if that came
        down to the sequence itself."""
        scheduled = {row.sequence.id for row in step.rows}
        while sequence.sequence_id is not None:
            if self._cache.reserve(sequence.sequence_id, 1):
                return True
            last = max((s for s in self.running if s.id not in scheduled), key=lambda s: s.rank)
            self._preempt(last)
        return False

    def _add_prefilling(self, step: Step) -> None:
        """Prompts in rank. Where cells are short a prompt takes what there is and waits for the
        decoding ones to end; only if nothing else could run is the last in rank preempted."""
        budget = self.pacer.prefill_budget(step.decoding, step.batch.room)
        for sequence in sorted(self.running, key=lambda s: s.rank):
            if sequence.is_decoding or sequence.sequence_id is None or budget == 0:
                continue
            count = self._available(min(sequence.pending, budget))
            while count == 0 and not step.rows and len(self.running) > 1:
                self._preempt(max(self.running, key=lambda s: s.rank))
                count = self._available(min(sequence.pending, budget))
            if count and sequence.sequence_id is not None:
                self._cache.reserve(sequence.sequence_id, count)
                self._add(step, sequence, count)
                step.prefill_tokens += count
                budget -= count

    def _add_drafts(self, step: Step, speculator: Speculator) -> None:
        """Drafts for the decoding sequences, in rows and cells that nobody else wants: they evict
        and displace nothing, so what is cached does not depend on them."""
        rows = step.rows[: step.decoding]
        room = min(step.batch.room, self._cache.ledger.free)
        prompt_row_ms = self.pacer.prefill_ms_per_token if step.prefill_tokens else None
        candidates = [
            Candidate(row.sequence, row.sequence.room(self._context_length) - 1) for row in rows
        ]
        # A text of its own may come in bursts; nobody else's may wait for them.
        alone = step.decoding == 1 and not step.prefill_tokens
        left_ms = self.pacer.target_ms - self.pacer.prefill_ms_per_token * step.prefill_tokens
        drafts = speculator.plan(
            candidates,
            room=room,
            prompt_row_ms=prompt_row_ms,
            step_ms_max=math.inf if alone else left_ms,
        )
        for row, draft in zip(rows, drafts, strict=True):
            if draft is not None:
                self._add_draft(step, row, draft)
        if step.draft_tokens:
            decoding = speculator.cost.ms(step.decoding + step.draft_tokens)
            step.expected_ms += decoding - speculator.cost.ms(step.decoding)

    def _add_draft(self, step: Step, row: Row, draft: Draft) -> None:
        sequence, count = row.sequence, len(draft.tokens)
        assert sequence.sequence_id is not None
        self._cache.reserve(sequence.sequence_id, count)
        start = len(sequence.tokens)
        last = step.batch.add(draft.tokens, start, sequence.sequence_id, every_output=True)
        row.draft, row.draft_row = draft, last - count + 1
        step.draft_tokens += count

    def _available(self, wanted: int) -> int:
        """How many of the wanted cells can be had, residents evicted if need be."""
        free = self._cache.ledger.free
        return wanted if wanted <= free else min(wanted, free + self._cache.idle_cells)

    def _preempt(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self._cache.release(sequence)
        sequence.preemptions += 1
        self.preemptions_total += 1
        self.add(sequence)

    def _add(self, step: Step, sequence: Sequence, count: int) -> None:
        assert sequence.sequence_id is not None
        start, last = sequence.computed, count == sequence.pending
        tokens = sequence.tokens.view[start : start + count]
        row = step.batch.add(tokens, start, sequence.sequence_id, output=last)
        step.rows.append(Row(sequence, count, row if last else None))
