"""How many calls a provider has at once, and the short queue of those that wait for a place."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence

WAITING_MAX = 64  # calls that wait for one provider; further ones are refused at once
WAIT_S_MAX = 10.0


class Slots:
    """The places of one provider. most: their number, None for no bound.

    in_flight: calls that have one.
    """

    def __init__(self, most: int | None = None) -> None:
        self.most = most
        self.in_flight = 0
        self._waiting: deque[asyncio.Future[Slots]] = deque()

    @property
    def waiting(self) -> int:
        """Calls that wait for a place."""
        return len(self._waiting)

    def take(self) -> bool:
        """Take a place; False where none is free."""
        if self.most is not None and self.in_flight >= self.most:
            return False
        self.in_flight += 1
        return True

    def release(self) -> None:
        """Give a place back: to the call that waits longest, so that no later one overtakes it."""
        while self._waiting:
            first = self._waiting.popleft()
            if not first.done():
                first.set_result(self)
                return
        self.in_flight -= 1

    def join(self, one: "asyncio.Future[Slots]") -> None:
        """Queue up."""
        self._waiting.append(one)

    def forget(self, one: "asyncio.Future[Slots]") -> None:
        """Leave the queue."""
        with contextlib.suppress(ValueError):
            self._waiting.remove(one)


async def first_free(candidates: Sequence[Slots], wait_s: float = WAIT_S_MAX) -> Slots | None:
    """Wait for a place of any of these and take it; None where the queues are full or it takes
    longer than `wait_s`.
    """
    queues = [slots for slots in dict.fromkeys(candidates) if slots.waiting < WAITING_MAX]
    if not queues:
        return None
    place: asyncio.Future[Slots] = asyncio.get_running_loop().create_future()
    for slots in queues:
        slots.join(place)
    try:
        async with asyncio.timeout(wait_s):
            return await place
    except BaseException as error:
        # It may have been given to us in the same moment.
        if place.done() and not place.cancelled():
            place.result().release()
        if isinstance(error, TimeoutError):
            return None
        raise
    finally:
        place.cancel()
        for slots in queues:
            slots.forget(place)
