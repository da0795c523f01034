"""Long prompts are read beside the answers: by a core of their own, a piece at a time.

On two cores even a small piece of a long prompt keeps the answers waiting for longer than their
target. Where the backend can, such a prompt is computed on a thread while the steps of the answers
go on with the others. One piece is under way at most; its sequence and cells are reserved until
it is finished, and nobody else's prompt is read meanwhile.
"""

from roost_inference.backend import Backend, DecodeStatus
from roost_inference.errors import EngineFailed
from roost_inference.mailbox import Mailbox
from roost_inference.scheduling.scheduler import Scheduler
from roost_inference.scheduling.step import Step


class Beside:
    """Used by the engine thread."""

    def __init__(self, backend: Backend, scheduler: Scheduler, mailbox: Mailbox) -> None:
        self._backend = backend
        self._scheduler = scheduler
        self._mailbox = mailbox
        scheduler.stop_beside = self.stop

    def begin(self, now: float) -> None:
        """Start the next piece, if there is a long prompt and somebody it should not keep."""
        step = self._scheduler.schedule_beside(now)
        if step is not None and not self._backend.begin_beside(step.batch):
            self._give_up()

    def finish(self) -> Step | None:
        """The piece, if it is computed."""
        return self._finished(wait=False)

    def wait(self) -> Step | None:
        """The piece, waited for, as there is nothing else to do; None if an abort came first."""
        step, status = self._scheduler.beside, None
        ids = [row.sequence.id for row in step.rows] if step is not None else []
        if not self._mailbox.begin_step(ids, by_anybody=True):
            return None
        try:
            done = self._finished(wait=True)
            status = DecodeStatus.ABORTED if done is None else DecodeStatus.DONE
            return done
        finally:
            self._mailbox.end_step(interrupted=status is DecodeStatus.ABORTED)

    def stop(self) -> None:
        """Give the piece up, within milliseconds: its sequence leaves."""
        if self._scheduler.beside is None:
            return
        self._backend.interrupt()
        try:
            self._backend.finish_beside(wait=True)
        finally:
            self._backend.clear_interrupt()
            self._give_up()

    def _finished(self, *, wait: bool) -> Step | None:
        step = self._scheduler.beside
        if step is None:
            return None
        try:
            status = self._backend.finish_beside(wait=wait)
        except EngineFailed:
            self._give_up()
            raise
        if status is None:
            return None
        if status is not DecodeStatus.DONE:
            self._give_up()
            if status is DecodeStatus.NO_CELLS:
                raise EngineFailed("The kernels found no free cells for a prompt")
            return None
        self._scheduler.beside = None
        self._scheduler.complete(step)
        return step

    def _give_up(self) -> None:
        """Nothing of the piece counts."""
        step, self._scheduler.beside = self._scheduler.beside, None
        if step is not None:
            self._scheduler.undo(step)
