"""Signs of life of a process: to its supervisor through a pipe, to the others in the database."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from roost_platform.db.services import HEARTBEAT_S, Heartbeats
from roost_platform.rhythm import until_beat
from roost_platform.stack import lifeline

log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def beating(heartbeats: Heartbeats, part: str, ready: asyncio.Event) -> AsyncIterator[None]:
    """Once `ready` is set, give signs of life for as long as the block runs."""
    tasks = {
        asyncio.create_task(_beat(heartbeats, part, ready)),
        asyncio.create_task(_beat_supervisor(ready)),
    }
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        lifeline.end_beats()


async def _beat_supervisor(ready: asyncio.Event) -> None:
    await ready.wait()
    while True:
        lifeline.beat()
        await asyncio.sleep(until_beat(lifeline.BEAT_EVERY_S))


async def _beat(heartbeats: Heartbeats, part: str, ready: asyncio.Event) -> None:
    await ready.wait()
    await _write(heartbeats, part)
    lifeline.tell_ready()
    while True:
        await asyncio.sleep(until_beat(HEARTBEAT_S))
        await _write(heartbeats, part)


async def _write(heartbeats: Heartbeats, part: str) -> None:
    try:
        await heartbeats.beat(part)
    except Exception:
        # The process goes on working. The health view shows it as down meanwhile.
        log.exception("the heartbeat was not written")
