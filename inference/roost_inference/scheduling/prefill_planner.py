"""Which prompt is read next, and how much of it: short ones whole, long ones in pieces.

The order is by class, with a floor for the lower ones; in a class by tenant; of a tenant the prompt
first that has waited longest for what it needs. So what is read in a moment does not wait for what
takes long. A long prompt that has waited for PATIENCE_S takes turns with the short ones.
"""

from collections.abc import Sequence as Many

from roost_inference.batch import TILE_ROWS
from roost_inference.request import ServiceClass
from roost_inference.scheduling.fairness import QUANTUM_TOKENS, Floors
from roost_inference.scheduling.pacing import Pacer
from roost_inference.scheduling.step import Step
from roost_inference.sequence import Account, Sequence

# A prompt with this many rows in a step is alone in it: alone its attention covers its own context
# only, and more rows would not make its products cheaper.
SHARING_ROWS_MAX = 16
PATIENCE_S = 20.0
# No prompt counts as shorter than this when what it has waited is compared with what it needs.
NEEDS_S_MIN = 0.001


class PrefillPlanner:
    """Plans prompts; reserves no cells and starts nothing. Used by the engine thread."""

    def __init__(self, pacer: Pacer, *, batch_tokens: int, background_cells: int) -> None:
        """background_cells: see Backend.background_cells."""
        # What the newest step of answers was expected to cost; 0 while there are no answers.
        self._decoding_ms = 0.0
        self._pacer = pacer
        self._batch_tokens = batch_tokens
        self._background_cells = background_cells
        self._floors = Floors()
        self._current: Account | None = None
        self._order: list[Sequence] = []
        # Classes that wanted to read when the newest prompt was planned.
        self._services: set[ServiceClass] = set()
        self._background_was_last = False
        self._long_was_last = False
        # Until then no short prompt is computed beside a piece: it has paused for one.
        self._next_beside_s = 0.0

    def next(
        self, step: Step, prompts: Many[Sequence], answers: Many[Sequence], now: float
    ) -> tuple[Sequence, int] | None:
        """The prompt that should join the step next, and its rows; None if none should.

        prompts, answers: the running sequences. Call `took` with what has joined."""
        if not answers:
            self._decoding_ms = 0.0
        if not step.rows:
            self._order = self._ordered(prompts, now)
        elif step.rows[-1].count >= SHARING_ROWS_MAX or not step.batch.rows_left:
            return None
        while self._order:
            sequence = self._order.pop(0)
            if sequence.sequence_id is not None:
                rows = self._rows(step, sequence, answers, now)
                return (sequence, rows) if rows else None
        return None

    def next_background(
        self, prompts: Many[Sequence], answers: Many[Sequence], now: float
    ) -> tuple[Sequence, int] | None:
        """The long prompt whose next piece should be computed in the background, and its rows;
        None if none should. Between two pieces short prompts have their turn."""
        if not (self._background_cells and prompts and answers):
            return None
        long = [s for s in prompts if not self._is_short(s) and not s.tells_prompt]
        if not long or (self._background_was_last and len(long) < len(prompts)):
            return None
        sequence = self._ordered(long, now)[0]
        self._services = _competing(prompts)
        rows = self._background_rows(sequence)
        return (sequence, rows) if rows else None

    def next_beside(
        self, step: Step, prompts: Many[Sequence], answers: Many[Sequence], now: float
    ) -> tuple[Sequence, int] | None:
        """The short prompt that should be computed now, beside a piece in the background, and its
        rows; None if there is none that the answers and the piece can wait for."""
        if now < self._next_beside_s:
            return None
        slack_ms = self._pacer.slack_ms(answers, now)
        for sequence in self._ordered(prompts, now):
            fits = 0 < sequence.pending <= step.batch.rows_left and not sequence.tells_prompt
            if (
                sequence.sequence_id is not None
                and fits
                and self._pacer.fits_beside(sequence.pending, sequence.computed, slack_ms)
            ):
                return sequence, sequence.pending
        return None

    def took(self, sequence: Sequence, rows: int, *, in_background: bool = False) -> None:
        """Note that `rows` rows of the planned prompt are being computed."""
        self._current = sequence.account
        self._long_was_last = not self._is_short(sequence)
        if self._services:
            self._floors.take(sequence.service, rows, self._services)
        self._background_was_last = in_background

    def took_beside(self, sequence: Sequence, rows: int, now: float) -> None:
        """The same for a short prompt that is computed beside a piece in the background."""
        step_ms = self._pacer.cost.beside * self._pacer.prefill_ms(rows, sequence.computed)
        self._next_beside_s = now + (step_ms + self._pacer.piece_ms(step_ms)) / 1000
        self.took(sequence, rows)

    def rest_s(self, answers: Many[Sequence], now: float) -> float | None:
        """How long it is until the next step beside a piece in the background: of these answers,
        or of a short prompt if there are none; None if nothing is to come."""
        if answers:
            return self._pacer.rest_s(answers, now, self._decoding_ms)
        return max(self._next_beside_s - now, 0.0) or None

    def note(self, step: Step) -> None:
        """The step is scheduled: prompts take turns with answers that cost what it shows."""
        if step.decoding:
            self._decoding_ms = step.expected_ms

    def _ordered(self, prompts: Many[Sequence], now: float) -> list[Sequence]:
        """The prompts, the one that is read first at the front."""
        self._services = _competing(prompts)
        if not self._services:
            return list(prompts)
        lowest: dict[ServiceClass, float] = {}
        for sequence in prompts:
            served, service = _served(sequence), sequence.service
            lowest[service] = min(lowest.get(service, served), served)

        def turn(sequence: Sequence) -> tuple[int, float, bool, float, float, int]:
            service, served = sequence.service, _served(sequence)
            is_due = service is not min(lowest) and self._floors.is_due(service)
            if sequence.account is self._current and served <= lowest[service] + QUANTUM_TOKENS:
                served = -1.0
            needs_s = self._pacer.prefill_ms(sequence.pending, sequence.computed) / 1000
            waited_s = now - sequence.arrival_s
            takes_turns = waited_s >= PATIENCE_S and not self._long_was_last
            is_later = not takes_turns or self._is_short(sequence)
            ratio = waited_s / max(needs_s, NEEDS_S_MIN)
            first = -service if is_due else service
            return (first, served, is_later, -ratio, needs_s, sequence.order)

        return sorted(prompts, key=turn)

    def _rows(self, step: Step, sequence: Sequence, answers: Many[Sequence], now: float) -> int:
        """Rows of the prompt that should join the step; 0 if it should wait."""
        if self._decoding_ms and self._background_rows(sequence):
            return 0
        fits = not step.rows and sequence.pending <= step.batch.rows_left
        if self._decoding_ms and fits and self._is_short(sequence):
            whole = self._pacer.whole(
                sequence.pending,
                sequence.computed,
                decoding_ms=self._decoding_ms,
                slack_ms=self._pacer.slack_ms(answers, now),
            )
            if whole is not None:
                return whole
        left = min(sequence.pending, step.batch.rows_left)
        rows = self._pacer.chunk(
            left,
            sequence.computed,
            decoding_ms=self._decoding_ms,
            rows=step.batch.size,
            work=step.work,
        )
        if sequence.repeats_exactly and 0 < sequence.pending - rows < TILE_ROWS:
            return rows - TILE_ROWS if rows > TILE_ROWS else left  # the end is a tile and more
        return rows

    def _background_rows(self, sequence: Sequence) -> int:
        """Rows of the next piece of a prompt that may be computed in the background, 0 if none."""
        rows = min(sequence.pending, self._batch_tokens, self._background_cells - sequence.computed)
        if rows < SHARING_ROWS_MAX or self._is_short(sequence) or sequence.tells_prompt:
            return 0
        return self._pacer.piece(rows, sequence.computed)

    def _is_short(self, sequence: Sequence) -> bool:
        """Whether the prompt is one that is read whole."""
        fresh = sequence.prompt_length - sequence.cached_tokens
        return fresh <= self._batch_tokens and self._pacer.is_short(fresh, sequence.cached_tokens)


def _competing(prompts: Many[Sequence]) -> set[ServiceClass]:
    """The classes of prompts that compete with each other; empty for one prompt alone."""
    return {sequence.service for sequence in prompts} if len(prompts) > 1 else set()


def _served(sequence: Sequence) -> float:
    """Tokens that the sequence's tenant was served."""
    return 0.0 if sequence.account is None else sequence.account.served
