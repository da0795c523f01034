"""Bounds the waits for one provider, of which a stream has one for each of its tokens."""

import asyncio
from types import TracebackType

from roost_platform.gateway.due_timer import DueTimer


class Patience:
    """`with patience(seconds):` raises TimeoutError like `asyncio.timeout`, at a fraction of its
    cost: all waits share one timer.
    """

    def __init__(self) -> None:
        self._timer = DueTimer(asyncio.get_running_loop(), self._end)
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._seconds: float | None = None
        self._is_over = self._is_waiting = False

    def __call__(self, seconds: float | None) -> "Patience":
        """Bound the wait in the block that follows; None for no bound."""
        self._task = asyncio.current_task()
        self._cancelling = self._task.cancelling() if self._task else 0
        self._is_over = False
        self._is_waiting = True
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
        self._is_waiting = False
        self._timer.stop()
        if self._is_over and self._task is not None:
            is_ours = self._task.uncancel() <= self._cancelling
            if is_ours and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def renew(self) -> None:
        """The present wait begins anew: a part of what it is for has come by another way."""
        if self._is_waiting:
            self.extend(self._seconds)

    def extend(self, seconds: float | None) -> None:
        """The present wait may last so long from now on."""
        self._seconds = seconds
        if seconds is None:
            self._timer.stop()
        else:
            self._timer.start(seconds)

    def close(self) -> None:
        """Nothing is waited for any more."""
        self._timer.close()

    def _end(self) -> None:
        if self._task is not None:
            self._is_over = True
            self._task.cancel()
