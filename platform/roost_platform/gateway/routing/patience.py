"""Bounds the waits for one provider, of which a stream has one for each of its tokens."""

import asyncio
from types import TracebackType


class Patience:
    """`with patience(seconds):` raises TimeoutError like `asyncio.timeout`, at a fraction of its
    cost: all waits share one timer, which looks when it fires how long the present one may last.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._due: float | None = None
        self._is_over = False

    def __call__(self, seconds: float | None) -> "Patience":
        """Bound the wait in the block that follows; None for no bound."""
        self._task = asyncio.current_task()
        self._cancelling = self._task.cancelling() if self._task else 0
        self._is_over = False
        self.extend(seconds)
        return self

    def __enter__(self) -> None:
        """The wait begins."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """The wait is over."""
        self._due = None
        if self._is_over and self._task is not None:
            is_ours = self._task.uncancel() <= self._cancelling
            if is_ours and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def extend(self, seconds: float | None) -> None:
        """The present wait may last so long from now on."""
        if seconds is None:
            self._due = None
            return
        self._due = due = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > due:
            self._arm(due)

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
        if self._due is None or self._task is None:
            return  # the next wait arms it again
        if self._loop.time() < self._due:
            self._arm(self._due)
            return
        self._is_over, self._due = True, None
        self._task.cancel()
