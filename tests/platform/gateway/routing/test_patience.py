"""Waits that share one timer end like waits with a time-out of their own."""

import asyncio

import pytest

from roost_platform.gateway.routing.patience import Patience


async def test_a_wait_that_is_too_long_ends_and_the_next_one_may_be_longer() -> None:
    patience = Patience()
    for _ in range(3):
        with patience(5.0):
            await asyncio.sleep(0.001)
    with pytest.raises(TimeoutError), patience(0.02):
        await asyncio.sleep(30)
    with patience(5.0):
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.03)  # nobody waits: nothing ends
    with pytest.raises(TimeoutError), patience(0.02):
        await asyncio.sleep(30)
    patience.close()


async def test_a_wait_may_be_lengthened_or_have_no_bound() -> None:
    patience = Patience()
    with patience(0.05):
        patience.extend(5.0)
        await asyncio.sleep(0.1)
    with patience(0.05):
        patience.extend(None)
        await asyncio.sleep(0.1)
    with patience(None):
        await asyncio.sleep(0.01)
    patience.close()


async def test_a_task_that_is_cancelled_by_another_one_is_cancelled() -> None:
    began = asyncio.Event()

    async def wait() -> None:
        patience = Patience()
        with patience(30.0):
            began.set()
            await asyncio.sleep(30)

    task = asyncio.create_task(wait())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_outer_time_out_keeps_its_own_meaning() -> None:
    patience = Patience()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            with patience(30.0):
                await asyncio.sleep(30)
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0
    with pytest.raises(TimeoutError), patience(0.01):  # and it is as good as before
        await asyncio.sleep(30)
    patience.close()
