"""Work on a request ends when its client leaves, whoever tells it: the port, or a message."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from roost_inference.http.protocol.leaving import LEAVING, Leaving
from roost_platform.gateway.leaving import ClientGone, UntilGone


class Client:
    """A client that leaves when a test says so. tells: by the extension of our ports."""

    def __init__(self, *, tells: bool) -> None:
        self.left = asyncio.Event()
        self.looked = 0
        self.leaving = Leaving(self._look)
        self.scope: dict[str, Any] = {"type": "http"}
        if tells:
            self.scope["extensions"] = {LEAVING: self.leaving.watch}

    def _look(self) -> None:
        self.looked += 1

    async def receive(self) -> dict[str, Any]:
        """A part of the body, then the end of the connection."""
        await self.left.wait()
        return {"type": "http.disconnect"}

    def leave(self) -> None:
        """Close the connection."""
        self.left.set()
        self.leaving.left()


@pytest.fixture(params=[True, False], ids=["extension", "message"])
def client(request: pytest.FixtureRequest) -> Client:
    return Client(tells=request.param)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


async def test_leaving_ends_the_work_and_nothing_else(client: Client) -> None:
    ended = ""

    async def work() -> str:
        nonlocal ended
        try:
            with UntilGone(client.scope, client.receive):
                try:
                    await asyncio.Event().wait()
                finally:
                    ended = "ended"
        except ClientGone:
            await asyncio.sleep(0)  # the task itself goes on
            return "gone"
        return ""

    working = asyncio.create_task(work())
    await asyncio.sleep(0.01)
    client.leave()
    assert await working == "gone" and ended == "ended"


async def test_a_client_that_has_left_before_is_seen(client: Client) -> None:
    client.leave()
    with pytest.raises(ClientGone), UntilGone(client.scope, client.receive):
        await asyncio.sleep(20)


async def test_a_cancel_from_elsewhere_stays_one(client: Client) -> None:
    async def work() -> None:
        with UntilGone(client.scope, client.receive):
            await asyncio.sleep(20)

    working = asyncio.create_task(work())
    await asyncio.sleep(0.01)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working


async def test_a_cancel_beside_a_leaving_is_not_lost(client: Client) -> None:
    async def work() -> None:
        with UntilGone(client.scope, client.receive):
            await asyncio.sleep(20)

    working = asyncio.create_task(work())
    await asyncio.sleep(0.01)
    working.cancel()
    client.leave()
    with pytest.raises(asyncio.CancelledError):
        await working


async def test_leaving_after_the_work_changes_nothing(client: Client) -> None:
    with UntilGone(client.scope, client.receive):
        await asyncio.sleep(0)
    client.leave()
    await asyncio.sleep(0.01)


async def test_a_port_reads_on_to_see_the_end_behind_what_waits() -> None:
    client = Client(tells=True)
    with UntilGone(client.scope, client.receive):
        assert client.looked == 1
    client.leave()
    with pytest.raises(ClientGone), UntilGone(client.scope, client.receive):
        await asyncio.sleep(20)
    assert client.looked == 1
