"""Threads that prepare requests: bounded queues, large bodies apart, no work for clients that left.

The first piece of a request's life, before the engine: parse, render, tokenise, submit.
"""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from roost_inference.errors import EngineUnavailable, QueueFull

# Parsing, rendering and tokenising a text of this size takes a few hundredths of a second.
LARGE_BODY_BYTES = 64 * 2**10
SMALL_THREADS = 4
# One large body at a time: it may take seconds, and the other cores are for the answers.
LARGE_THREADS = 1
SMALL_WAITING_MAX = 256
LARGE_WAITING_MAX = 16

T = TypeVar("T")


class Abandoned(Exception):
    """The client has left; nothing more is done for it."""


class Preparation:
    """One request on its way to the engine. `loop` is the event loop that will read the answer."""

    def __init__(self, lane: "_Lane", loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._lane = lane
        self._is_abandoned = False

    def abandon(self) -> None:
        """The client has left."""
        self._is_abandoned = True

    def check(self) -> None:
        """Raise Abandoned once the client has left. Work calls it between its pieces."""
        if self._is_abandoned:
            raise Abandoned

    async def run(self, work: Callable[[], T], undo: Callable[[T], None] | None = None) -> T:
        """Do the work on a thread of the lane, in the order of arrival.

        Raises QueueFull where too many wait already. When this is cancelled, work that waits is
        dropped; the result of work that runs already goes to `undo`, on any thread.
        """

        def checked() -> T:
            self.check()
            return work()

        future = await self._lane.start(checked)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if undo is not None:
                future.add_done_callback(lambda done: _undo(done, undo))
            raise


class PreparationLanes:
    """The threads, in two lanes, so that small requests never wait behind large ones."""

    def __init__(self) -> None:
        self._small = _Lane("small", SMALL_THREADS, SMALL_WAITING_MAX)
        self._large = _Lane("large", LARGE_THREADS, LARGE_WAITING_MAX)

    def open(self, body_bytes: int) -> Preparation:
        """Begin to prepare a request with a body of this size. Call it on the event loop."""
        lane = self._large if body_bytes > LARGE_BODY_BYTES else self._small
        return Preparation(lane, asyncio.get_running_loop())

    def close(self, timeout_s: float) -> bool:
        """Take no more work. Returns whether all running work ended within the time limit."""
        running = self._small.close() | self._large.close()
        return not wait(running, timeout_s).not_done


class _Lane:
    """Threads, and a queue before them in the order of arrival. Used from one event loop."""

    def __init__(self, name: str, threads: int, waiting_max: int) -> None:
        self._name = name
        self._waiting_max = waiting_max
        self._waiting = 0
        self._free_threads = asyncio.Semaphore(threads)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=f"prepare-{name}")
        self._running: set[Future[Any]] = set()

    async def start(self, work: Callable[[], T]) -> "Future[T]":
        """Wait for a free thread, then begin. A caller cancelled while it waits leaves nothing
        behind."""
        if self._waiting >= self._waiting_max:
            raise QueueFull(f"{self._waiting} {self._name} requests wait to be prepared already")
        self._waiting += 1
        try:
            await self._free_threads.acquire()
        finally:
            self._waiting -= 1
        loop = asyncio.get_running_loop()
        try:
            future = self._executor.submit(work)
        except RuntimeError as error:
            self._free_threads.release()
            raise EngineUnavailable("The engine is stopping") from error
        self._running.add(future)

        def ended(done: "Future[T]") -> None:
            self._running.discard(done)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(self._free_threads.release)

        future.add_done_callback(ended)
        return future

    def close(self) -> set[Future[Any]]:
        """Take no more work. Returns what is still running."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        return set(self._running)


def _undo(done: "Future[T]", undo: Callable[[T], None]) -> None:
    if not done.cancelled() and done.exception() is None:
        undo(done.result())
