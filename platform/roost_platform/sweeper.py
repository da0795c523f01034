"""Rings again where a doorbell was lost, a stop had no effect, or a worker died."""

import asyncio
import logging

from roost_platform.db.stores import Stores
from roost_platform.intake import Doorbell, ring_quietly

SWEEP_S = 1.0  # how often the sweeper looks
IDLE_S = 300.0  # the same while nothing waits and nothing runs; commits wake it at once
SWEEP_MAX = 100  # conversations rung by one sweep
OVERDUE_S = 2.0  # a message or a stop that waits longer has lost its doorbell
RING_AGAIN_S = 5.0
SILENT_S = 30.0  # a running turn without progress for this long may have lost its worker

log = logging.getLogger(__name__)


class Sweeper:
    """Rings again where a doorbell was lost, a stop had no effect, or a worker died."""

    def __init__(self, stores: Stores, doorbell: Doorbell, *, interval_s: float = SWEEP_S) -> None:
        self._stores = stores
        self._doorbell = doorbell
        self._interval_s = interval_s

    async def run(self) -> None:
        """Sweep for ever; a failing sweep is logged and repeated."""
        while True:
            try:
                await self._sweep_or_rest()
            except Exception:
                log.exception("sweeping failed")
            await asyncio.sleep(self._interval_s)

    async def _sweep_or_rest(self) -> None:
        version = await self._stores.database.version()  # before reading: no commit is missed
        if await self._stores.inbox.has_open_work():
            await self.sweep()
        else:
            await self._stores.database.changed_since(version, IDLE_S)

    async def sweep(self) -> int:
        """Look once; returns how many conversations were rung."""
        now = self._stores.database.now()
        rings, stops = await self._stores.inbox.overdue(
            older_than=now - OVERDUE_S,
            not_rung_since=now - RING_AGAIN_S,
            silent_since=now - SILENT_S,
            limit=SWEEP_MAX,
        )
        if rings:
            await self._stores.inbox.mark_rung(rings)
        for conversation_id in stops:
            await ring_quietly(self._doorbell.stop(conversation_id), conversation_id)
        for conversation_id in rings:
            await ring_quietly(self._doorbell.ring(conversation_id), conversation_id)
        return len(rings) + len(stops)
