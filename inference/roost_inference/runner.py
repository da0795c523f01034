"""Computes a step with the kernels. An abort may interrupt it, and then nothing of it counts."""

from collections.abc import Callable

from roost_inference.backend import Backend
from roost_inference.backend import DecodeStatus as Status
from roost_inference.errors import EngineFailed
from roost_inference.mailbox import Mailbox
from roost_inference.scheduling.background_prefill import BackgroundPrefill
from roost_inference.scheduling.cost import StepCost
from roost_inference.scheduling.scheduler import Scheduler
from roost_inference.scheduling.step import Step

# An abort of one sequence does not interrupt a step of several that is expected to be shorter than
# this. A step of one sequence is always interrupted: if others use the cores, it may take many
# times as long as expected.
INTERRUPT_ABOVE_MS = 10.0


class Runner:
    """The middle part of a step. Used by the engine thread."""

    def __init__(
        self,
        backend: Backend,
        scheduler: Scheduler,
        background: BackgroundPrefill,
        mailbox: Mailbox,
        cost: StepCost,
        *,
        clock: Callable[[], float],
        step_clock: Callable[[], float],
    ) -> None:
        """cost: learns from every step; clock, step_clock: see Engine."""
        self._backend = backend
        self._scheduler = scheduler
        self._background = background
        self._mailbox = mailbox
        self._cost = cost
        self._clock = clock
        self._step_clock = step_clock

    def run(self, step: Step) -> Step | None:
        """Compute the step and return it. None if it was interrupted or came too late for an
        abort: nothing of it counts then, and the others repeat it with unchanged results."""
        is_long = step.expected_ms > INTERRUPT_ABOVE_MS
        ids = (row.sequence.id for row in step.rows if is_long or len(step.rows) == 1)
        if not self._mailbox.begin_step(ids, by_anybody=is_long and step.decoding == 0):
            self._scheduler.undo(step)
            return None
        started, began, status = self._clock(), self._step_clock(), None
        try:
            status = self._backend.decode(step.batch)
        except EngineFailed:
            self._scheduler.undo(step)
            raise
        finally:
            self._mailbox.end_step(interrupted=status is Status.ABORTED)
        if status is Status.DONE:
            busy_ms = (self._step_clock() - began) * 1000
            self._observe(step, (self._clock() - started) * 1000, busy_ms)
            return step
        self._scheduler.undo(step)
        if status is Status.NO_CELLS:
            raise EngineFailed("The kernels found no free cells although the ledger has some")
        return None

    def _observe(self, step: Step, elapsed_ms: float, busy_ms: float) -> None:
        rows, work, outputs = step.batch.size, step.work, step.outputs
        if self._background.step is not None:
            self._cost.observe_beside(rows, work, elapsed_ms, outputs)
        else:
            self._cost.observe(rows, work, elapsed_ms, busy_ms=busy_ms, outputs=outputs)
