"""Who is computed in the next step: answers and prompts by turns, within one budget.

    waiting ──admit──▶ running (prefilling → decoding) ──finish──▶ resident in the KV cache
       ▲                  │
       └────preempt───────┘   when cells run out, or a higher class wants the place

Who is admitted next is the queue's to say (waiting.py). Preempted is the last in rank: class, then
arrival. Its KV stays as a resident, and is paged out as every other is, so it goes on where it
was. The first in rank is never preempted and always fits alone, so every sequence comes to its end.
"""

import math
from bisect import insort
from collections.abc import Callable, Iterator
from operator import attrgetter

from roost_inference.batch import Batch
from roost_inference.kv.cache import KvCache
from roost_inference.kv.match import NO_MATCH, Match
from roost_inference.pacing import Pacer
from roost_inference.prefilling import is_being_read
from roost_inference.reading import SHARING_ROWS_MAX, Reading
from roost_inference.sequence import Sequence
from roost_inference.speculation.panel import Candidate
from roost_inference.speculation.speculator import Speculator
from roost_inference.step import Row, Step
from roost_inference.waiting import WaitingLine, charge

# Cells kept free for each running sequence when another is admitted: fewer preemptions.
DECODE_RESERVE_CELLS = 32
# Waiting sequences looked at in one step: matching prefixes takes time.
ADMISSIONS_PER_STEP = 16

_rank = attrgetter("rank")


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
        beside_cells: int = 0,
    ) -> None:
        """beside_cells: see Backend.beside_cells."""
        # In rank.
        self.running: list[Sequence] = []
        self.waiting = WaitingLine()
        self.pacer = pacer
        self.preemptions_total = 0
        self._cache = cache
        self._batch = Batch(batch_tokens)
        self._max_running = max_running
        self._context_length = context_length
        self._speculator = speculator
        self._reading = Reading(pacer, batch_tokens=batch_tokens, beside_cells=beside_cells)
        self._prompts_are_due = False
        # A piece of a long prompt that is being computed beside the steps; see beside.py.
        self.beside: Step | None = None
        self.stop_beside: Callable[[], None] = lambda: None
        # Nobody was admitted, and nothing has changed since that could let anybody in.
        self._is_full = False

    @property
    def has_work(self) -> bool:
        return bool(self.running or len(self.waiting))

    def add(self, sequence: Sequence) -> None:
        self.waiting.add(sequence)
        self._is_full = False

    def sequences(self) -> Iterator[Sequence]:
        """Everything unfinished, running first."""
        yield from tuple(self.running)
        yield from tuple(self.waiting)

    def schedule(self, now: float) -> Step | None:
        """The next step, its cells reserved; None if there is nothing to compute."""
        if len(self.waiting) and not self._is_full:
            self._admit(now)
        if not self.running:
            return None
        self._batch.clear()
        step = Step(self._batch)
        if self._prompts_are_due:
            self._add_prefilling(step, now)
        if not step.rows:
            self._add_decoding(step)
        if not step.rows:
            self._add_prefilling(step, now)
        self._prompts_are_due = step.decoding > 0
        return step if step.rows else None

    def schedule_beside(self, now: float) -> Step | None:
        """A piece of a long prompt, its cells reserved, if answers are being written meanwhile;
        `beside` from now on."""
        prompts = [s for s in self.running if not s.is_decoding]
        if self.beside is not None or not prompts or len(prompts) == len(self.running):
            return None
        found = self._reading.next_beside(prompts, now)
        if found is None:
            return None
        sequence, rows = found
        if sequence.sequence_id is None or not self._cache.reserve(sequence.sequence_id, rows):
            return None
        self.beside = self._reading.beside(sequence, rows, prompts)
        return self.beside

    def _is_beside(self, sequence: Sequence) -> bool:
        return self.beside is not None and self.beside.rows[0].sequence is sequence

    def complete(self, step: Step) -> None:
        """The step was computed: its tokens are in the KV."""
        for row in step.rows:
            sequence = row.sequence
            sequence.computed += row.count
            charge(sequence, row.count)
            if sequence.wants and row.output is not None:
                self.waiting.read(sequence)

    def settle(self, row: Row, accepted: int) -> None:
        """Of the row's draft the first `accepted` tokens are part of the sequence now; the KV of
        the others goes. Call after `complete`, before the sequence is removed."""
        sequence = row.sequence
        sequence.computed += accepted
        charge(sequence, accepted)
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
        if self._is_beside(sequence):
            self.stop_beside()
        if sequence in self.running:
            self.running.remove(sequence)
            self._cache.retire(sequence)
        else:
            self._cache.forget(sequence)
            self.waiting.take(sequence)
        self.waiting.settle(sequence)
        self._is_full = False

    def check(self) -> None:
        """Raise AssertionError if cells, ids, states or accounts do not add up."""
        beside = self.beside.rows if self.beside is not None else []
        self._cache.check(self.running, {row.sequence.sequence_id: row.count for row in beside})
        self.waiting.check(self.running)
        assert len(self.running) <= self._max_running, "too many run"
        assert self.running == sorted(self.running, key=_rank), "running is out of rank"
        for sequence in self.running:
            assert sequence.pending > 0, "a running sequence has nothing to compute"
        for sequence in self.waiting:
            assert sequence.sequence_id is None and sequence.computed == 0, "waits with KV"

    # Admission

    def _admit(self, now: float) -> None:
        """Move waiting sequences to running, each in its turn, as long as they fit."""
        deferred: list[Sequence] = []
        for _ in range(ADMISSIONS_PER_STEP):
            sequence = self.waiting.next()
            if sequence is None:
                break
            match = self._match(sequence)
            if self._cache.is_fetching(sequence) or is_being_read(
                sequence, match.length, self.running
            ):
                self.waiting.take(sequence)
                deferred.append(sequence)
                continue
            found = self._room(sequence, match)
            if found is None:
                self._is_full = not deferred
                break
            self._start(sequence, found, now)
        for sequence in deferred:
            self.waiting.add(sequence)

    def _match(self, sequence: Sequence) -> Match:
        return self._cache.match(sequence, [s for s in self.running if not self._is_beside(s)])

    def _start(self, sequence: Sequence, match: Match, now: float) -> None:
        self._cache.claim(match, sequence)
        self.waiting.admit(sequence, self._context_length)
        if sequence.started_s is None:
            sequence.started_s = now
            sequence.cached_tokens = sequence.computed
        insort(self.running, sequence, key=_rank)

    def _room(self, sequence: Sequence, match: Match) -> Match | None:
        """What it can be admitted with, those of a lower class preempted if need be; None if it
        has to wait."""
        while True:
            if len(self.running) < self._max_running:
                found = self._fitting(sequence, match)
                if found is not None:
                    return found
            last = self.running[-1]
            if last.carried or last.service <= sequence.service or self._cache.pager is None:
                return None
            self._preempt(last)
            match = self._match(sequence)

    def _fitting(self, sequence: Sequence, match: Match) -> Match | None:
        """The match, or none of it if only that leaves room; None if it has to wait."""
        reserved = sum(s.pending + DECODE_RESERVE_CELLS for s in self.running)
        for option in (match, NO_MATCH):
            if self._cache.fits(option, len(sequence.tokens) - option.held + reserved):
                return option
        # Alone, a sequence always fits: its length is bounded by the context.
        return None if self.running else NO_MATCH

    def _preempt(self, sequence: Sequence) -> None:
        if self._is_beside(sequence):
            self.stop_beside()
        self.running.remove(sequence)
        self._cache.release(sequence)
        self.waiting.settle(sequence)
        sequence.preemptions += 1
        self.preemptions_total += 1
        self.add(sequence)

    # The step

    def _add_decoding(self, step: Step) -> None:
        """The next token of every answer, and what is guessed to follow."""
        sequences = [s for s in self.running if s.is_decoding]
        if len(sequences) > self._cache.ledger.free:
            sequences = self._with_cells(sequences)
        ids = [s.sequence_id for s in sequences if s.sequence_id is not None]
        if not ids:
            self._reading.decoding_ms = 0.0
            return
        self._cache.ledger.extend_each(ids)
        step.add_answers(sequences, ids)
        if self._speculator is not None:
            self._add_drafts(step, self._speculator)
        step.expected_ms = self.pacer.cost.ms(step.batch.size, step.work)
        self._reading.decoding_ms = step.expected_ms

    def _with_cells(self, sequences: list[Sequence]) -> list[Sequence]:
        """Those of the sequences that can have a cell each, in rank, after residents are evicted
        and then the last in rank preempted."""
        while not self._cache.make_free(len(sequences)):
            last = self.running[-1]
            self._preempt(last)
            sequences = [s for s in sequences if s is not last]
        return sequences

    def _add_prefilling(self, step: Step, now: float) -> None:
        """Prompts in their turns. Where cells are short a prompt takes what there is and waits for
        the answers to end; only if nothing else could run is the last in rank preempted."""
        prompts = [s for s in self.running if not s.is_decoding]
        if self.beside is not None:
            return
        answers = len(self.running) - len(prompts)
        for sequence in self._reading.in_turn(prompts, now) if prompts else ():
            if sequence.sequence_id is None or not step.batch.room:
                continue
            writing = (s for s in self.running if s.is_decoding)
            wanted = self._reading.wanted(step, sequence, writing, now)
            count = self._available(wanted) if wanted else 0
            while wanted and not (count or step.rows or answers) and len(self.running) > 1:
                self._preempt(self.running[-1])
                count = self._available(wanted)
            if wanted == 0:
                break
            if count and sequence.sequence_id is not None:
                self._cache.reserve(sequence.sequence_id, count)
                step.add_prompt(sequence, sequence.sequence_id, count)
                self._reading.read(sequence, count, prompts)
                if count >= SHARING_ROWS_MAX:
                    break
        step.expected_ms = self.pacer.cost.ms(step.batch.size, step.work)

    def _add_drafts(self, step: Step, speculator: Speculator) -> None:
        """Drafts for the decoding sequences, in rows and cells that nobody else wants: they evict
        and displace nothing, so what is cached does not depend on them."""
        rows = step.rows
        room = min(step.batch.room, self._cache.ledger.free)
        candidates = [
            Candidate(row.sequence, row.sequence.room(self._context_length) - 1) for row in rows
        ]
        # A text of its own may come in bursts; nobody else's may wait for them.
        reading = len(self.running) > step.decoding
        target_ms = self.pacer.target_ms
        drafts = speculator.plan(
            candidates,
            room=room,
            step_ms_max=target_ms / 2 if reading else target_ms if len(rows) > 1 else math.inf,
        )
        for row, draft in zip(rows, drafts, strict=True):
            sequence_id = row.sequence.sequence_id
            if draft is not None and sequence_id is not None:
                self._cache.reserve(sequence_id, len(draft.tokens))
                step.add_draft(row, sequence_id, draft)

    def _available(self, wanted: int) -> int:
        """How many of the wanted cells can be had, residents evicted if need be."""
        free = self._cache.ledger.free
        return wanted if wanted <= free else min(wanted, free + self._cache.idle_cells)
