"""The clock that channels use, so that tests can set the time."""

import asyncio
import time
from typing import Protocol


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

    async def sleep(self, seconds: float) -> None:
        """Wait for some seconds."""
        await asyncio.sleep(seconds)
