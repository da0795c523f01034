"""One timer for many waits, one after the other, of which a stream has one for each token."""

import asyncio
from collections.abc import Callable


class DueTimer:
    """When it fires it looks how long the present wait may last. on_due: is called when that has
    lasted too long.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_due: Callable[[], None]) -> None:
        self._loop = loop
        self._on_due = on_due
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None

    def start(self, seconds: float) -> None:
        """The present wait may last so long from now on."""
        self._due = due = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > due:
            self._arm(due)

    def stop(self) -> None:
        """The wait is over, or has no bound; the next one starts the timer again."""
        self._due = None

    def close(self) -> None:
        """Nothing is waited for any more."""
        self._due = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._due is None:
            return
        if self._loop.time() < self._due:
            self._arm(self._due)
            return
        self._due = None
        self._on_due()
