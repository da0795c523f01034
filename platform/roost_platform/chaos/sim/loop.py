"""An event loop whose clock jumps to the next timer: seconds of waiting cost nothing."""

import asyncio
import selectors
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, TypeVarTuple

Made = TypeVar("Made")
Given = TypeVarTuple("Given")
EPOCH_S = 1_790_000_000.0
# This many rounds without progress of the clock mean that tasks wake each other for ever.
ROUNDS_STILL_MAX = 100_000


class Livelock(RuntimeError):
    """Tasks kept each other busy while no time passed."""


class _NoFiles(selectors.BaseSelector):
    """A selector that never waits: it moves the clock by the time that the loop would wait."""

    def __init__(self) -> None:
        self.now = 0.0
        self.still = 0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, 0, None)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Livelock("every task waits for another")
        if timeout > 0:
            self.now += timeout
            self.still = 0
        else:
            self.still += 1
            if self.still > ROUNDS_STILL_MAX:
                raise Livelock("tasks kept each other busy without time passing")
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """No sockets, no threads, no wall clock: the order of events follows from the program alone."""

    def __init__(self) -> None:
        self._virtual = _NoFiles()
        super().__init__(self._virtual)
        self.unhandled: list[str] = []
        self.skew_s = 0.0  # how far the machine's clock was set forward, in all
        self.set_exception_handler(self._note)

    def time(self) -> float:
        """Virtual seconds since the loop began."""
        return self._virtual.now

    def run_in_executor(
        self, executor: Any, func: Callable[[*Given], Made], *args: *Given
    ) -> asyncio.Future[Made]:
        """Do at once what others do in a thread, whose end would come at any moment."""
        future: asyncio.Future[Made] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.unhandled.append(f"{context.get('message')}: {error!r}")


class LoopClock:
    """Seconds since the epoch by the running loop: the channels' and the fakes' Clock."""

    def time(self) -> float:
        """Seconds since the epoch."""
        loop = asyncio.get_running_loop()
        return EPOCH_S + loop.time() + (loop.skew_s if isinstance(loop, VirtualLoop) else 0.0)

    def steady(self) -> float:
        """Seconds by a clock that no plan sets."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Let virtual seconds pass."""
        await asyncio.sleep(seconds)
