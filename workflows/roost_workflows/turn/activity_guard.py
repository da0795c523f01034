"""Around every activity: heartbeats, telling a stop from a dying worker, and private errors."""

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError

from roost_workflows.policies import HEARTBEAT_EVERY_S, WORKER_DEATHS_MAX
from roost_workflows.ports import TurnRecord, Turns
from roost_workflows.storage.ends import RecordedStops
from roost_workflows.turn.failures import internal_failure, trace_of

log = logging.getLogger(__name__)

Argument = TypeVar("Argument")
Result = TypeVar("Result")


@contextlib.asynccontextmanager
async def beating() -> AsyncIterator[None]:
    """Send heartbeats while the block runs."""

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(HEARTBEAT_EVERY_S)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()


def refuse_deadly(turn: TurnRecord) -> None:
    """Give up a turn whose workers died of it: the session settles it as failed."""
    if turn.worker_deaths >= WORKER_DEATHS_MAX:
        log.error("turn %s is given up: %d workers died of it", turn.turn_id, turn.worker_deaths)
        raise ApplicationError("worker_died", type="worker_died", non_retryable=True)


@dataclass(slots=True, eq=False)
class Running:
    """Work for a turn that a stop ends. is_stopped: the watch has ended it."""

    turn_id: str
    task: "asyncio.Task[object]"
    is_stopped: bool = False


_current: ContextVar[Running | None] = ContextVar("roost_running", default=None)


def was_stopped() -> bool:
    """Whether the watch has ended the work of this task."""
    running = _current.get()
    return running is not None and running.is_stopped


class StopWatch:
    """Looks for recorded stops of all turns that this process works for, with one query.

    A stop of many turns reaches each through Temporal by a signal, a task of its workflow and a
    cancellation; together they take a server with two cores a second. stops: None where Temporal
    alone tells of them.
    """

    def __init__(self, stops: RecordedStops | None = None) -> None:
        self._stops = stops
        self._running: set[Running] = set()  # at most one for each slot of the worker
        self._watch: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def watching(self, turn_id: str) -> AsyncIterator[None]:
        """Cancel the block once a stop of the turn is recorded. `was_stopped` says so until the
        task ends.
        """
        task = asyncio.current_task()
        if self._stops is None or task is None:
            yield
            return
        running = Running(turn_id, task)
        _current.set(running)
        self._running.add(running)
        if self._watch is None or self._watch.done():  # done: it failed
            self._watch = asyncio.create_task(self._end_stopped(self._stops))
        try:
            yield
        finally:
            self._running.discard(running)
            if not self._running and self._watch is not None:
                self._watch.cancel()
                self._watch = None

    def _turn_ids(self) -> frozenset[str]:
        return frozenset(one.turn_id for one in self._running)

    async def _end_stopped(self, stops: RecordedStops) -> None:
        """Cancel what runs for stopped turns."""
        try:
            async with contextlib.aclosing(stops.among(self._turn_ids)) as looks:
                async for stopped in looks:
                    for one in [one for one in self._running if one.turn_id in stopped]:
                        # What Temporal has cancelled already is ending.
                        if not one.is_stopped and not one.task.cancelling():
                            one.is_stopped = True
                            one.task.cancel()
        except Exception as error:
            # Temporal tells of the stop, too; the next call begins another watch.
            log.warning("recorded stops are not watched: %r", error)


def stop_was_asked() -> bool:
    """Whether a stop cancelled this activity, rather than the worker's end or a time-out."""
    if was_stopped():
        return True
    details = activity.cancellation_details()
    return details is not None and details.cancel_requested and not details.worker_shutdown


async def finish(work: Coroutine[Any, Any, Result]) -> Result:
    """Await a commit to its end even if a cancellation arrives, so that its result is known."""
    task = asyncio.create_task(work)
    while True:
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.done():
                raise


async def note_error(turns: Turns, turn_id: str, error: str) -> None:
    """Keep an error for operators; a storage that is away does not make it worse."""
    try:
        await turns.note_error(turn_id, error)
    except Exception as failure:
        log.warning("the error of turn %s is not stored: %r", turn_id, failure)


class HasTurns(Protocol):
    """What has the activities that `private` guards."""

    turns: Turns


Owner = TypeVar("Owner", bound=HasTurns)


def private(
    function: Callable[[Owner, Argument], Awaitable[Result]],
) -> Callable[[Owner, Argument], Awaitable[Result]]:
    """Log an unexpected error and keep it for operators; only its type enters history, because its
    text may quote people. A fault of code ends the turn after a few attempts.
    """

    @functools.wraps(function)
    async def run(self: Owner, argument: Argument) -> Result:
        try:
            return await function(self, argument)
        except ApplicationError:
            raise
        except Exception as error:
            log.exception("activity %s failed", function.__name__)
            turn_id = getattr(argument, "turn_id", "")
            if turn_id:
                await note_error(self.turns, turn_id, trace_of(error))
            raise internal_failure(error, activity.info().attempt) from None

    return run
