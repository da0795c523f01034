"""Holds a prefill engine's offer until the decode engine has taken it, or gives it back."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from roost_inference.client.routing.control import Control
from roost_inference.client.routing.facts import Handover
from roost_inference.errors import EngineError

BEATS: Final = 3  # in the time of a lease
RELEASE_TRIES: Final = 2
RELEASE_TIMEOUT_S: Final = 5.0
# What still runs when the router closes gets so long; then the engine's own time-out does it.
CLOSE_TIMEOUT_S: Final = 2.0

log = logging.getLogger(__name__)


class Lease:
    """One offer. It is renewed while the decode engine lets the request wait, and released unless
    that engine has taken it. Each of both ways out is taken once; what comes later changes nothing.
    """

    def __init__(
        self,
        offer: Handover,
        control: Control,
        keeper: "LeaseKeeper",
        on_release: Callable[[], None],
    ) -> None:
        self.offer = offer
        self._control = control
        self._keeper = keeper
        self._on_release = on_release
        self._is_settled = False
        self._beating = keeper.start(self._beat())

    def taken(self) -> None:
        """The decode engine writes: it has what it wanted, and tells the prefill engine so."""
        self._settle()

    def release(self) -> None:
        """Nobody will fetch the KV: tell the engine, behind whatever happens now."""
        if self._settle():
            self._on_release()
            self._keeper.start(self._release())

    def _settle(self) -> bool:
        if self._is_settled:
            return False
        self._is_settled = True
        self._beating.cancel()
        self._keeper.forget(self)
        return True

    async def _beat(self) -> None:
        is_kept = True
        while is_kept:
            await asyncio.sleep(self.offer.lease_s / BEATS)
            with contextlib.suppress(EngineError):
                is_kept = await self._control.renew(self.offer.request_id)

    async def _release(self) -> None:
        for _ in range(RELEASE_TRIES):
            try:
                async with asyncio.timeout(RELEASE_TIMEOUT_S):
                    await self._control.release(self.offer.request_id)
                return
            except (EngineError, TimeoutError) as error:
                reason = error
        log.info("a lease ends by its own time, its engine can't be told: %s", reason)


class LeaseKeeper:
    """The open leases of a router, and what it still has to tell engines about them."""

    def __init__(self) -> None:
        self._open: set[Lease] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def count(self) -> int:
        """Leases that are neither taken nor released."""
        return len(self._open)

    def keep(self, offer: Handover, control: Control, on_release: Callable[[], None]) -> Lease:
        """A lease over this offer."""
        lease = Lease(offer, control, self, on_release)
        self._open.add(lease)
        return lease

    def forget(self, lease: Lease) -> None:
        """The lease is settled."""
        self._open.discard(lease)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run this beside the requests."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Release what is open, and let what is being told get out for a moment."""
        for lease in list(self._open):
            lease.release()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT_S)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
