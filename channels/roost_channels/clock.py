"""The clock that channels use, so that tests can set the time."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

SET_LEAST_S: Final = 1.0  # a clock that moves by less is only corrected
SETS_MAX: Final = 16  # the oldest is forgotten


class Clock(Protocol):
    """Tells the time, and sleeps by it."""

    def time(self) -> float:
        """Return the seconds since the epoch."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for some seconds of this clock."""
        ...


class SystemClock:
    """The machine's clock."""

    def time(self) -> float:
        """Return the seconds since the epoch."""
        return time.time()

    def steady(self) -> float:
        """Return seconds by a clock that nobody sets."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait for some seconds."""
        await asyncio.sleep(seconds)


def steady_of(clock: Clock) -> Callable[[], float]:
    """Seconds by a clock that nobody sets; one of tests that has none is believed."""
    steady: Callable[[], float] = getattr(clock, "steady", clock.time)
    return steady


class Passed:
    """How long ago something was, for processes whose clock may be set forward meanwhile.

    clock: seconds since the epoch. steady: seconds by a clock that nobody sets. What was set before
    this was made is not known here.
    """

    def __init__(self, clock: Callable[[], float], steady: Callable[[], float]) -> None:
        self._clock, self._steady = clock, steady
        self._ahead = clock() - steady()
        # The time before each setting, and by how much it was.
        self._sets: deque[tuple[float, float]] = deque(maxlen=SETS_MAX)

    @classmethod
    def by(cls, clock: Clock) -> "Passed":
        """By a clock of the channels."""
        return cls(clock.time, steady_of(clock))

    @classmethod
    def of(cls, clock: Callable[[], float]) -> "Passed":
        """By a function: the machine's time is compared with its steady clock, others are
        believed."""
        return cls(clock, time.monotonic if clock is time.time else clock)

    def since(self, at: float) -> float:
        """Seconds since `at`, without those by which the clock was set forward since then."""
        now = self._clock()
        by = now - self._steady() - self._ahead
        if abs(by) >= SET_LEAST_S:
            self._ahead += by
            if by > 0:
                self._sets.append((now - by, by))
        return now - at - sum(by for before, by in self._sets if at <= before)
