"""Around every activity: heartbeats, telling a stop from a dying worker, and private errors."""

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError

from roost_workflows.policies import HEARTBEAT_EVERY_S, WORKER_DEATHS_MAX
from roost_workflows.ports import TurnRecord, Turns
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


def stop_was_asked() -> bool:
    """Whether the workflow cancelled this activity, rather than the worker's end or a time-out."""
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
