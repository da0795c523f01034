"""Who is computed in the next step: prompts and answers take turns, a step each."""

import math
from collections.abc import Iterator

from roost_inference.batch import Batch
from roost_inference.kv.cache import KvCache
from roost_inference.scheduling.admission import Admission
from roost_inference.scheduling.background_prefill import BackgroundPrefill
from roost_inference.scheduling.drafts import Speculation
from roost_inference.scheduling.pacing import Pacer
from roost_inference.scheduling.prefill_planner import PrefillPlanner
from roost_inference.scheduling.queue import charge
from roost_inference.scheduling.step import Row, Step
from roost_inference.sequence import Sequence

# Rows of a prompt whose logprobs are wanted, in one step that it has alone: the kernels keep logits
# for as many rows as there are sequences.
PROMPT_OUTPUTS_MAX = 8


class Scheduler:
    """Holds every unfinished sequence; owns no thread and no clock."""

    def __init__(
        self,
        cache: KvCache,
        pacer: Pacer,
        background: BackgroundPrefill,
        speculation: Speculation,
        *,
        batch_tokens: int,
        max_running: int,
        background_cells: int,
        side_by_side_from: int = 0,
    ) -> None:
        """background_cells, side_by_side_from: see Backend."""
        self._admission = Admission(cache, background, max_running=max_running)
        self.running, self.waiting = self._admission.running, self._admission.waiting
        self._planner = PrefillPlanner(
            pacer, batch_tokens=batch_tokens, background_cells=background_cells
        )
        self._cache = cache
        self._pacer = pacer
        self._background = background
        self._speculation = speculation
        self._side_by_side_from = side_by_side_from or math.inf
        self._batch = Batch(batch_tokens)
        self._prompts_are_due = False

    @property
    def has_work(self) -> bool:
        """Whether a sequence is running or waiting."""
        return bool(self.running or len(self.waiting))

    @property
    def preemptions_total(self) -> int:
        """How often a running sequence had to go back to the queue."""
        return self._admission.preemptions_total

    def add(self, sequence: Sequence) -> None:
        """Queue a new sequence."""
        self._admission.add(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Take a finished or aborted sequence out; its computed KV stays for the next turn."""
        self._admission.remove(sequence)

    def sequences(self) -> Iterator[Sequence]:
        """Everything unfinished, running first."""
        yield from tuple(self.running)
        yield from tuple(self.waiting)

    def schedule(self, now: float) -> Step | None:
        """The next step, its cells reserved; None if there is nothing to compute in the
        foreground. May start a piece of a long prompt in the background."""
        self._admission.admit(now)
        self._batch.clear()
        self._batch.is_alone = len(self.running) == 1
        self._batch.is_exact = all(sequence.repeats_exactly for sequence in self.running)
        step = Step(self._batch)
        self._start_background(now)
        if self._prompts_are_due:
            self._add_prompts(step, now)
        if not step.rows and not self.rest_s(now):
            self._add_answers(step)
        if not step.rows:
            self._add_prompts(step, now)
        if not step.rows:
            return None
        self._prompts_are_due = step.decoding > 0
        step.expected_ms = self._pacer.cost.ms(step.batch.size, step.work, step.outputs)
        self._planner.note(step)
        return step

    def rest_s(self, now: float) -> float | None:
        """How long the next step waits because a piece of a long prompt is being computed in the
        background; None if the piece is all that is left to wait for."""
        if self._background.step is None:
            return 0.0
        return self._planner.rest_s(self._answers(), now)

    def complete(self, step: Step) -> None:
        """The step was computed: its tokens are in the KV."""
        for row in step.rows:
            sequence = row.sequence
            sequence.computed += row.count
            charge(sequence, row.count)
            if sequence.awaits_prefill and row.output is not None:
                self.waiting.prefilled(sequence)

    def undo(self, step: Step) -> None:
        """The step was not computed: its cells are free again, its tokens pending as before."""
        step.undo(self._cache)

    def accept(self, row: Row, accepted: int) -> None:
        """The first `accepted` tokens of the row's draft are part of the sequence now; the KV of
        the others goes. Call after `complete`, before the sequence is removed."""
        sequence = row.sequence
        sequence.computed += accepted
        charge(sequence, accepted)
        if accepted < row.drafted and sequence.sequence_id is not None:
            self._cache.rollback(sequence.sequence_id, sequence.computed)

    def check(self) -> None:
        """Raise AssertionError if cells, ids, states or accounts do not add up."""
        piece = self._background.step.rows if self._background.step is not None else []
        self._cache.check(self.running, {row.sequence.sequence_id: row.count for row in piece})
        self._admission.check()

    def _prompts(self) -> list[Sequence]:
        return [sequence for sequence in self.running if not sequence.is_decoding]

    def _answers(self) -> list[Sequence]:
        return [sequence for sequence in self.running if sequence.is_decoding]

    def _start_background(self, now: float) -> None:
        """Start the next piece of a long prompt beside the answers, if it is time for one."""
        prompts = self._prompts()
        if not prompts or self._background.step is not None:
            return
        planned = self._planner.next_background(prompts, self._answers(), now)
        if planned is not None and self._background.start(*planned):
            self._planner.took(*planned, in_background=True)

    def _add_beside(self, step: Step, now: float) -> None:
        """Add a short prompt to a step beside a piece in the background, whole and alone in it.
        Others wait for the end of the piece."""
        prompts = [s for s in self._prompts() if not self._background.computes(s)]
        planned = self._planner.next_beside(step, prompts, self._answers(), now)
        if planned is None or self._available(planned[1]) < planned[1]:
            return
        sequence, rows = planned
        assert sequence.sequence_id is not None
        self._cache.reserve(sequence.sequence_id, rows)
        step.add_prompt(sequence, sequence.sequence_id, rows)
        self._planner.took_beside(sequence, rows, now)

    def _add_prompts(self, step: Step, now: float) -> None:
        """Add prompts in the planner's order. Where cells are short, a prompt takes what is free
        and waits for answers to end. If nothing else can run, the last in rank is preempted."""
        if self._background.step is not None:
            self._add_beside(step, now)
            return
        while planned := self._planner.next(step, self._prompts(), self._answers(), now):
            sequence, wanted = planned
            if sequence.tells_prompt:
                if step.rows:
                    return
                wanted = min(wanted, PROMPT_OUTPUTS_MAX, self._cache.sequences)
            rows = self._available(wanted)
            if rows and sequence.sequence_id is not None:
                self._cache.reserve(sequence.sequence_id, rows)
                step.add_prompt(sequence, sequence.sequence_id, rows)
                self._planner.took(sequence, rows)
                if sequence.tells_prompt:
                    return
            elif step.rows or self._answers() or len(self.running) == 1:
                return
            else:
                self._admission.preempt(self.running[-1])

    def _available(self, wanted: int) -> int:
        """How many of the wanted cells can be had, residents evicted if need be."""
        free = self._cache.ledger.free
        return wanted if wanted <= free else min(wanted, free + self._cache.idle_cells)

    def _add_answers(self, step: Step) -> None:
        """The next token of every answer, and what is guessed to follow."""
        answers = self._answers()
        if len(answers) > self._cache.ledger.free:
            answers = self._with_cells(answers)
        ids = [s.sequence_id for s in answers if s.sequence_id is not None]
        if ids:
            self._cache.ledger.extend_each(ids)
            step.add_answers(answers, ids)
            self._add_drafts(step, answers)

    def _with_cells(self, answers: list[Sequence]) -> list[Sequence]:
        """Those of the answers that can have a cell each, in rank: residents are evicted first,
        then the last in rank is preempted."""
        while not self._cache.make_free(len(answers)):
            last = self.running[-1]
            self._admission.preempt(last)
            answers = [s for s in answers if s is not last]
        return answers

    def _add_drafts(self, step: Step, answers: list[Sequence]) -> None:
        """Drafts for the answers, in rows and cells that nobody else wants: they evict and
        displace nothing, so what is cached does not depend on them."""
        drafts = self._speculation.plan(
            answers,
            tokens_max=min(step.batch.rows_left, self._cache.ledger.free),
            step_ms_max=self._draft_step_ms_max(len(answers)),
            even=len(answers) >= self._side_by_side_from,
        )
        for row, draft in zip(step.rows, drafts, strict=False):
            sequence_id = row.sequence.sequence_id
            if draft is not None and sequence_id is not None:
                self._cache.reserve(sequence_id, len(draft.tokens))
                step.add_draft(row, sequence_id, draft)

    def _draft_step_ms_max(self, answers: int) -> float:
        """What a step with drafts may cost. An answer that runs alone may come in bursts; other
        answers and prompts must not wait for its drafts."""
        if self._background.step is not None:
            return self._pacer.target_ms / 2 / self._pacer.cost.beside
        if len(self.running) > answers:
            return self._pacer.target_ms / 2
        return self._pacer.target_ms if answers > 1 else math.inf
