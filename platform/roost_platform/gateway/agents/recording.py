"""Writes the rows of calls behind them, so that no call waits for the database."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from roost_platform.gateway.keys.ports import CallLog, Reservation, Spent

log = logging.getLogger(__name__)

ROWS_MAX = 1000  # that wait to be written; a further call waits at its end
TRIES_MAX = 5  # of one row, while the database is away
PAUSE_S = 1.0
DRAIN_S = 5.0  # how long a process that ends still writes


class Recorder:
    """One queue and one task; see `recording`."""

    def __init__(self, calls: CallLog) -> None:
        self._calls = calls
        self._rows: asyncio.Queue[tuple[Reservation, Spent]] = asyncio.Queue(ROWS_MAX)

    async def put(self, wanted: Reservation, spent: Spent) -> None:
        """Have the row of a call written. It waits only where ROWS_MAX rows wait already."""
        await self._rows.put((wanted, spent))

    async def drain(self) -> None:
        """Wait until every row is written or given up."""
        await self._rows.join()

    async def run(self) -> None:
        """Write rows until this is cancelled."""
        while True:
            wanted, spent = await self._rows.get()
            try:
                await self._write(wanted, spent)
            finally:
                self._rows.task_done()

    async def _write(self, wanted: Reservation, spent: Spent) -> None:
        error: Exception | None = None
        for number in range(TRIES_MAX):
            if number:
                await asyncio.sleep(PAUSE_S)
            try:
                await self._calls.record(wanted, spent)
                return
            except Exception as failed:  # every driver has its own errors
                error = failed
        log.error("the row of the call %s to %s is lost: %r", wanted.call_id, spent.target, error)


@contextlib.asynccontextmanager
async def recording(calls: CallLog) -> AsyncIterator[Recorder]:
    """A recorder that writes while the block runs; what is left is written at its end."""
    recorder = Recorder(calls)
    writing = asyncio.create_task(recorder.run())
    try:
        yield recorder
    finally:
        try:
            async with asyncio.timeout(DRAIN_S):
                await recorder.drain()
        except TimeoutError:
            log.error("rows of model calls are lost: the database does not answer")
        writing.cancel()
        await asyncio.wait({writing})
