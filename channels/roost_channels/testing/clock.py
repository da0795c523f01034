"""The clock of a fake: the wall clock, or a virtual one that a test advances."""

import asyncio
import heapq
import itertools
import time
from typing import Protocol

SETTLE_STEPS = 20


class Clock(Protocol):
    """A time and a sleep that follow the same clock."""

    def time(self) -> float:
        """Seconds since the epoch."""

    async def sleep(self, seconds: float) -> None:
        """Wait for that many seconds of the clock."""


class SystemClock:
    """The wall clock."""

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait for that many real seconds."""
        await asyncio.sleep(seconds)


class VirtualClock:
    """Stands still until `advance` is called; sleepers wake in the order of their times."""

    def __init__(self, start: float = 1_790_000_000.0) -> None:
        self._now = start
        self._tickets = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def time(self) -> float:
        """The virtual time, in seconds since the epoch."""
        return self._now

    @property
    def sleeping(self) -> int:
        """How many sleepers wait for the clock."""
        return sum(1 for _, _, future in self._sleepers if not future.done())

    async def sleep(self, seconds: float) -> None:
        """Wait until `advance` has moved the time on by that many seconds."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._tickets), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move the time on; each sleeper runs at its own time."""
        target = self._now + seconds
        while self._sleepers and self._sleepers[0][0] <= target:
            due, _, future = heapq.heappop(self._sleepers)
            if future.done():
                continue
            self._now = max(self._now, due)
            future.set_result(None)
            await _settle()
        self._now = target
        await _settle()


async def _settle() -> None:
    for _ in range(SETTLE_STEPS):
        await asyncio.sleep(0)


async def wait_for_event(event: asyncio.Event, clock: Clock, seconds: float) -> bool:
    """Wait for the event, at most `seconds` of the clock; returns whether it is set."""
    if event.is_set() or seconds <= 0:
        return event.is_set()
    waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(clock.sleep(seconds))]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return event.is_set()
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
