"""Calls above a provider's bound wait a moment in a short queue, in their order."""

import asyncio
from pathlib import Path

import pytest

from roost_platform.gateway.routing import slots as slots_module
from roost_platform.gateway.routing.slots import WAITING_MAX, Slots, first_free
from roost_platform.testing.providers.gateway import gateway_server
from roost_platform.testing.providers.upstream import Act, said, upstream
from roost_platform.testing.providers.virtual_time import run_virtual

ASKING = {"model": "p/m", "messages": [{"role": "user", "content": "Hello"}]}


def test_places_are_handed_over_in_order() -> None:
    async def run() -> None:
        slots, order = Slots(1), []
        assert slots.take() and not slots.take()

        async def wait(number: int) -> None:
            assert await first_free([slots]) is slots
            order.append(number)
            assert not slots.take()  # nobody overtakes
            slots.release()

        waiting = [asyncio.create_task(wait(number)) for number in range(5)]
        await asyncio.sleep(1)
        slots.release()
        await asyncio.gather(*waiting)
        assert order == [0, 1, 2, 3, 4] and slots.in_flight == 0

    run_virtual(run())


def test_a_full_queue_and_a_long_wait_end_without_a_place() -> None:
    async def run() -> None:
        slots = Slots(1)
        slots.take()
        waiting = [asyncio.create_task(first_free([slots], 5)) for _ in range(WAITING_MAX)]
        await asyncio.sleep(1)
        assert slots.waiting == WAITING_MAX
        assert await first_free([slots], 5) is None
        assert asyncio.get_running_loop().time() < 2  # at once
        assert await asyncio.gather(*waiting) == [None] * WAITING_MAX
        assert (slots.in_flight, slots.waiting) == (1, 0)

    run_virtual(run())


def test_a_place_that_comes_in_the_moment_of_leaving_is_not_lost() -> None:
    async def run() -> None:
        one, other = Slots(1), Slots(1)
        one.take()
        other.take()
        leaving = asyncio.create_task(first_free([one, other]))
        next_one = asyncio.create_task(first_free([one]))
        await asyncio.sleep(1)
        one.release()
        leaving.cancel()
        assert await next_one is one
        other.release()
        one.release()
        assert (one.in_flight, other.in_flight, one.waiting, other.waiting) == (0, 0, 0, 0)

    run_virtual(run())


@pytest.mark.usefixtures("sqlite_url")
async def test_a_call_waits_for_a_place_and_is_told_when_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Act(events=said("Hello"), before_s=0.5)
    async with upstream(slow) as provider:
        overrides = {"providers": {"p": {"base_url": provider.base_url, "concurrency": 1}}}
        async with gateway_server(tmp_path, overrides=overrides) as gateway:

            async def call() -> tuple[int, str]:
                response = await gateway.post("/v1/chat/completions", ASKING)
                return response.status_code, response.headers.get("retry-after", "")

            assert {*await asyncio.gather(call(), call())} == {(200, "")}
            monkeypatch.setattr(slots_module, "WAITING_MAX", 0)
            told = sorted(await asyncio.gather(call(), call()))
            assert told == [(200, ""), (503, "1")]
            assert len(provider.requests) == 3
