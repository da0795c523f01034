"""Computes long prompts in the background: a piece at a time, on threads of the backend.

Small pieces of a prompt cost much more a token than large ones, and a large one takes seconds on
two cores. So where the backend can, a large piece is computed on all cores while the answers get a
step now and then, for which it pauses or shares the cores. At most one piece is under way. Its
sequence and its cells are reserved until it ends.
"""

from roost_inference.backend import Backend, DecodeStatus
from roost_inference.batch import Batch
from roost_inference.errors import EngineFailed
from roost_inference.kv.cache import KvCache
from roost_inference.mailbox import Mailbox
from roost_inference.scheduling.step import Step
from roost_inference.sequence import Sequence


class BackgroundPrefill:
    """Owns the piece that is being computed. Used by the engine thread."""

    def __init__(
        self, backend: Backend, cache: KvCache, mailbox: Mailbox, *, rows_max: int
    ) -> None:
        """mailbox: is woken when a piece has ended. rows_max: of a piece."""
        self._backend = backend
        self._cache = cache
        self._mailbox = mailbox
        self._batch = Batch(rows_max)
        self.step: Step | None = None

    def computes(self, sequence: Sequence) -> bool:
        """Whether a piece of this sequence is under way."""
        return self.step is not None and self.step.rows[0].sequence is sequence

    def start(self, sequence: Sequence, rows: int) -> bool:
        """Start to compute the next `rows` tokens of a prompt. False if there are no cells for
        them or the backend does not start; nothing is reserved then."""
        assert self.step is None, "a piece is under way already"
        sequence_id = sequence.sequence_id
        if sequence_id is None or not self._cache.reserve(sequence_id, rows):
            return False
        self._batch.clear()
        self.step = Step(self._batch)
        self.step.add_prompt(sequence, sequence_id, rows)
        if not self._backend.begin_prefill(self._batch, self._mailbox.wake):
            self._discard()
        return self.step is not None

    def finish(self) -> Step | None:
        """The piece, if it has been computed since the last call."""
        step = self.step
        if step is None:
            return None
        try:
            status = self._backend.finish_prefill(wait=False)
        except EngineFailed:
            self._discard()
            raise
        if status is None:
            return None
        if status is DecodeStatus.DONE:
            self.step = None
            return step
        self._discard()
        if status is DecodeStatus.NO_CELLS:
            raise EngineFailed("The kernels found no free cells for a prompt")
        return None

    def stop(self) -> None:
        """Discard the piece, if there is one: its sequence leaves. Takes milliseconds."""
        if self.step is None:
            return
        self._backend.stop_prefill()
        try:
            self._backend.finish_prefill(wait=True)
        finally:
            self._discard()

    def _discard(self) -> None:
        """Give the cells of the piece back; its tokens are pending as before."""
        step, self.step = self.step, None
        if step is not None:
            step.undo(self._cache)
