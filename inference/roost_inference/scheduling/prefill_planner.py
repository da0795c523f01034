"""How prompts are read: short ones whole, long ones in pieces beside the answers or by turns."""

from collections.abc import Iterable
from collections.abc import Sequence as Many

from roost_inference.batch import Batch
from roost_inference.scheduling.pacing import Pacer
from roost_inference.scheduling.prefill_order import PromptTurns
from roost_inference.scheduling.step import Step
from roost_inference.sequence import Sequence

# A prompt with this many rows in a step is alone in it: alone its attention passes over its own
# context only, and more rows would not make its products cheaper.
SHARING_ROWS_MAX = 16
# Rows of a piece that is read beside answers, by one thread: others wait for its end.
BESIDE_ROWS = 64
# A long prompt that waits for longer than this lets no short one of its tenant go first.
PATIENCE_S = 20.0


class Reading:
    """Says which prompt comes next and how much of it; reserves no cells."""

    def __init__(self, pacer: Pacer, *, batch_tokens: int, beside_cells: int) -> None:
        """beside_cells: see Backend.beside_cells."""
        self.pacer = pacer
        # What the newest step of answers was expected to cost; 0 while nobody writes.
        self.decoding_ms = 0.0
        self._turns = PromptTurns()
        self._batch_tokens = batch_tokens
        self._beside_batch, self._beside_cells = Batch(BESIDE_ROWS), beside_cells
        self._was_beside = False

    def in_turn(self, prompts: Many[Sequence], now: float) -> Many[Sequence]:
        """The prompts, who reads first at the front."""
        return self._turns.order(
            prompts, lambda s: now - s.arrival_s < PATIENCE_S and not self._is_short(s)
        )

    def wanted(
        self, step: Step, sequence: Sequence, answers: Iterable[Sequence], now: float
    ) -> int:
        """Tokens of the prompt that should join the step; 0 if it is not its turn yet."""
        if self.decoding_ms and self._beside_rows(sequence):
            return 0
        fits = not step.rows and sequence.pending <= step.batch.room
        if self.decoding_ms and fits and self._is_short(sequence):
            whole = self.pacer.whole(
                sequence.pending,
                sequence.computed,
                decoding_ms=self.decoding_ms,
                slack_ms=self.pacer.slack_ms(answers, now),
            )
            if whole is not None:
                return whole
        return self.pacer.chunk(
            min(sequence.pending, step.batch.room),
            sequence.computed,
            decoding_ms=self.decoding_ms,
            rows=step.batch.size,
            work=step.work,
        )

    def read(self, sequence: Sequence, count: int, prompts: Many[Sequence]) -> None:
        """So many tokens of the prompt are in a step, while all of these want to read."""
        self._turns.read(sequence, count, prompts)
        self._was_beside = False

    def next_beside(self, prompts: Many[Sequence], now: float) -> tuple[Sequence, int] | None:
        """The long prompt whose next piece is read beside the answers, and its rows. Between two
        pieces short prompts are read."""
        long = [s for s in prompts if not self._is_short(s)] if self._beside_cells else []
        if not long or (self._was_beside and len(long) < len(prompts)):
            return None
        first = self.in_turn(long, now)[0]
        rows = self._beside_rows(first)
        return (first, rows) if rows else None

    def beside(self, sequence: Sequence, rows: int, prompts: Many[Sequence]) -> Step:
        """The step of such a piece, its cells reserved."""
        assert sequence.sequence_id is not None
        self._beside_batch.clear()
        step = Step(self._beside_batch)
        step.add_prompt(sequence, sequence.sequence_id, rows)
        self._turns.read(sequence, rows, prompts)
        self._was_beside = True
        return step

    def _beside_rows(self, sequence: Sequence) -> int:
        """Rows of the next piece of a long prompt that may be read beside answers, 0 if none."""
        rows = min(sequence.pending, BESIDE_ROWS)
        fits = rows >= SHARING_ROWS_MAX and sequence.computed + rows <= self._beside_cells
        return rows if fits and not self._is_short(sequence) else 0

    def _is_short(self, sequence: Sequence) -> bool:
        fresh = sequence.prompt_length - sequence.cached_tokens
        return fresh <= self._batch_tokens and self.pacer.is_short(fresh, sequence.cached_tokens)
