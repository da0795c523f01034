"""Settles the calls whose process has gone, and what the database did not take at first."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import bindparam, select

from roost_platform.db import models
from roost_platform.db.base.plain import PlainConnection, PlainStatement, read_plain, write_plain
from roost_platform.db.gateway import reserving
from roost_platform.db.gateway.keys import GatewayKeys
from roost_platform.db.gateway.owners import OWNERS_MAX, SWEEP_S, Owners
from roost_platform.db.gateway.periods import period_bounds
from roost_platform.rhythm import until_beat

BATCH: Final = 100  # calls in one transaction; others write in between
BATCHES_MAX: Final = 1000  # of one owner in one sweep
DOUBT_S: Final = 0.5  # before a sweep out of turn, so that a burst of them makes one

log = logging.getLogger(__name__)

_CALL = models.GatewayCall
_OPEN = PlainStatement(
    select(_CALL.id).where(_CALL.outcome == "", _CALL.owner == bindparam("owner")).limit(OWNERS_MAX)
)


@dataclass(slots=True)
class Sweep:
    """At the start and every SWEEP_S: beats, tries again what was not settled, counts refusals, and
    settles lost calls. Nothing is billed for a lost call, and what it held is free again.
    """

    keys: GatewayKeys
    owners: Owners = field(init=False)

    def __post_init__(self) -> None:
        self.owners = Owners(self.keys.database, self.keys.owner)

    async def run(self) -> None:
        """Sweep for ever; a sweep that fails is logged, and the next one goes on."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(until_beat(SWEEP_S)):
                    await self.keys.doubt.wait()
                    await asyncio.sleep(DOUBT_S)
            try:
                await self.sweep()
            except Exception:
                log.exception("looking for lost calls failed")

    async def sweep(self) -> int:
        """Do all of it once; how many calls were lost."""
        self.keys.doubt.clear()
        await self.owners.beat()
        await self._settle_again()
        await self.keys.refusals.flush()
        lost = await self._lose_own()
        for owner in await self.owners.gone():
            lost += await self._lose_all(owner)
            await self.owners.forget(owner)
        if lost:
            log.warning("%d calls had lost their process and are settled", lost)
        return lost

    async def end(self) -> None:
        """Settle what is open of this process, which ends."""
        await self._settle_again()
        await self.keys.refusals.flush()
        await self._lose_all(self.keys.owner)
        await self.owners.forget(self.keys.owner)

    async def _settle_again(self) -> None:
        for _ in range(len(self.keys.unsettled)):
            # One that fails again is put back by `settle` before it raises.
            await self.keys.settle(self.keys.unsettled.popleft())

    async def _lose_own(self) -> int:
        """Settle rows of this process whose calls have ended, such as by a cancelled commit."""
        own = {"owner": self.keys.owner}

        def find(connection: PlainConnection) -> list[str]:
            return [row.id for row in _OPEN.run(connection, own).all()]

        found = await read_plain(self.keys.database, find)
        ids = [id for id in found if id not in self.keys.running]
        for id in ids:
            await self._write(lambda connection, now, id=id: _lose(connection, now, call=id))
        return len(ids)

    async def _lose_all(self, owner: str) -> int:
        lost = 0
        for _ in range(BATCHES_MAX):
            batch = await self._write(
                lambda connection, now: _lose(connection, now, owner=owner, most=BATCH)
            )
            lost += batch
            if batch == 0:
                break
        return lost

    async def _write(self, work: Any) -> int:
        now = self.keys.database.now()
        return await write_plain(self.keys.database, lambda connection: int(work(connection, now)))


@contextlib.asynccontextmanager
async def sweeping(keys: GatewayKeys) -> AsyncIterator[None]:
    """Sweep at once and for as long as the block runs; its end settles what is open."""
    sweep = Sweep(keys)
    await sweep.sweep()
    task = asyncio.create_task(sweep.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        try:
            await sweep.end()
        except Exception:
            log.exception("what is open here is left to the next sweep")


def _lose(connection: PlainConnection, now: float, **which: Any) -> int:
    """Settle the call, or some calls of an owner, as lost; how many."""
    statement = reserving.LOSE_ONE if "call" in which else reserving.LOSE_SOME
    rows = statement.run(connection, {"now": now, **which}).all()
    calls: Counter[str] = Counter()
    microusd: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for row in rows:
        calls[row.key_id] += 1
        microusd[row.key_id] += row.held_microusd
        tokens[row.key_id] += row.held_tokens
    for key in sorted(calls):  # in one order, so that two sweeps wait for each other at most once
        held: Mapping[str, Any] = {
            "held_microusd": microusd[key],
            "held_tokens": tokens[key],
            "ended": calls[key],
        }
        used = {"key": key, "now": now, **period_bounds(now), **held, "cost": 0, "tokens": 0}
        reserving.SETTLE.run(connection, used)
    return len(rows)
