"""Who of the running is computed in the next step: answers and prompts by turns, in one budget."""

import math
from collections.abc import Callable, Iterator

from roost_inference.batch import Batch
from roost_inference.kv.cache import KvCache
from roost_inference.scheduling.admission import Places
from roost_inference.scheduling.pacing import Pacer
from roost_inference.scheduling.prefill_planner import SHARING_ROWS_MAX, Reading
from roost_inference.scheduling.queue import charge
from roost_inference.scheduling.step import Row, Step
from roost_inference.sequence import Sequence
from roost_inference.speculation.panel import Candidate
from roost_inference.speculation.speculator import Speculator


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
        self._places = Places(
            cache,
            max_running=max_running,
            context_length=context_length,
            is_beside=self._is_beside,
            stop_beside=lambda: self.stop_beside(),
        )
        self.running, self.waiting = self._places.running, self._places.waiting
        self.pacer = pacer
        self._cache = cache
        self._batch = Batch(batch_tokens)
        self._context_length = context_length
        self._speculator = speculator
        self._reading = Reading(pacer, batch_tokens=batch_tokens, beside_cells=beside_cells)
        self._prompts_are_due = False
        # A piece of a long prompt that is being computed beside the steps; see beside.py.
        self.beside: Step | None = None
        self.stop_beside: Callable[[], None] = lambda: None

    @property
    def has_work(self) -> bool:
        return bool(self.running or len(self.waiting))

    @property
    def preemptions_total(self) -> int:
        return self._places.preemptions_total

    def add(self, sequence: Sequence) -> None:
        self._places.add(sequence)

    def sequences(self) -> Iterator[Sequence]:
        """Everything unfinished, running first."""
        yield from tuple(self.running)
        yield from tuple(self.waiting)

    def schedule(self, now: float) -> Step | None:
        """The next step, its cells reserved; None if there is nothing to compute."""
        self._places.admit(now)
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
        self._places.remove(sequence)

    def check(self) -> None:
        """Raise AssertionError if cells, ids, states or accounts do not add up."""
        beside = self.beside.rows if self.beside is not None else []
        self._cache.check(self.running, {row.sequence.sequence_id: row.count for row in beside})
        self._places.check()

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
        step.expected_ms = self.pacer.cost.ms(step.batch.size, step.work, step.outputs)
        self._reading.decoding_ms = step.expected_ms

    def _with_cells(self, sequences: list[Sequence]) -> list[Sequence]:
        """Those of the sequences that can have a cell each, in rank, after residents are evicted
        and then the last in rank preempted."""
        while not self._cache.make_free(len(sequences)):
            last = self.running[-1]
            self._places.preempt(last)
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
                self._places.preempt(self.running[-1])
                count = self._available(wanted)
            if wanted == 0:
                break
            if count and sequence.sequence_id is not None:
                self._cache.reserve(sequence.sequence_id, count)
                step.add_prompt(sequence, sequence.sequence_id, count)
                self._reading.read(sequence, count, prompts)
                if count >= SHARING_ROWS_MAX:
                    break
        step.expected_ms = self.pacer.cost.ms(step.batch.size, step.work, step.outputs)

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
