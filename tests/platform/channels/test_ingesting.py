"""The ingest of one channel fails; the channel tells it and begins again."""

import asyncio
from typing import Any

import pytest

from roost_channels.testing.clock import VirtualClock
from roost_channels.testing.memory.delivery import ScriptedChannel
from roost_channels.testing.memory.intake import MemoryIntake
from roost_platform.db.stores import Stores
from roost_platform.wiring.courier import CourierProcess
from roost_platform.wiring.ingesting import AGAIN_S_MAX, keep_ingesting


class Broken(ScriptedChannel):
    """Its ingest fails some times, as code that did not expect an answer does."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures
        self.begun = 0
        self.is_through = asyncio.Event()

    async def ingest(self, intake: Any) -> None:
        self.begun += 1
        if self.begun <= self.failures:
            raise TypeError("'bool' object is not iterable")
        self.is_through.set()


async def failed(clock: VirtualClock) -> None:
    """Wait until the next try has failed."""
    while clock.sleeping == 0:
        await asyncio.sleep(0)


async def test_an_ingest_that_fails_is_told_and_begins_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    channel, intake, clock = Broken(3), MemoryIntake(), VirtualClock()
    keeping = asyncio.create_task(keep_ingesting(channel, intake, clock=clock))
    for wait_s in (1.0, 2.0, 4.0):
        await failed(clock)
        await clock.advance(wait_s)
    await asyncio.wait_for(keeping, 10)
    assert channel.begun == 4
    assert set(intake.states) == {("degraded", "TypeError: 'bool' object is not iterable")}
    assert "failed" in caplog.text


async def test_the_wait_before_another_try_is_bounded() -> None:
    channel, clock = Broken(100), VirtualClock()
    keeping = asyncio.create_task(keep_ingesting(channel, MemoryIntake(), clock=clock))
    await failed(clock)
    await clock.advance(1 + 2 + 4 + 8 + 16 + 32 + 10 * AGAIN_S_MAX)
    assert channel.begun == 1 + 6 + 10
    keeping.cancel()


async def test_a_storage_that_is_away_ends_no_ingest() -> None:
    class Away(MemoryIntake):
        async def channel_state(self, *_: Any, **__: Any) -> None:
            raise OSError("no database")

    channel, clock = Broken(1), VirtualClock()
    keeping = asyncio.create_task(keep_ingesting(channel, Away(), clock=clock))
    await failed(clock)
    await clock.advance(1.0)
    await asyncio.wait_for(keeping, 10)


async def test_the_other_jobs_of_the_courier_go_on(sqlite_stores: Stores) -> None:
    channel, stop, is_delivering = Broken(1), asyncio.Event(), asyncio.Event()

    async def deliver() -> None:
        is_delivering.set()
        await channel.is_through.wait()
        stop.set()

    jobs = {"ingest": keep_ingesting(channel, MemoryIntake()), "deliver": deliver()}
    await asyncio.wait_for(CourierProcess(sqlite_stores, jobs).run(stop), 20)
    assert is_delivering.is_set() and channel.begun == 2
