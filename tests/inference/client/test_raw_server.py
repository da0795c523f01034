"""A server of tests leaves nothing behind it that a later test would be blamed for."""

import asyncio
import contextlib
import socket

import pytest

from roost_inference.testing.raw_server import raw_server


async def opened(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))


@pytest.mark.parametrize("sends", [0, 64 * 2**20], ids=["waits", "has more than is read"])
async def test_a_connection_that_is_still_answered_is_closed_at_the_end(sends: int) -> None:
    held: list[socket.socket] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer.get_extra_info("socket"))
        writer.write(b"x" * sends)
        await writer.drain()
        await asyncio.Event().wait()

    async with raw_server(serve) as url, asyncio.timeout(10.0):
        _, client = await opened(url)
        while not held:
            await asyncio.sleep(0.01)
    assert held[0].fileno() == -1
    client.close()
    with contextlib.suppress(ConnectionError):
        await client.wait_closed()


async def test_an_error_of_the_server_is_one_of_the_test() -> None:
    async def serve(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        async with raw_server(serve) as url:
            reader, client = await opened(url)
            assert await reader.read() == b""
            client.close()
            await client.wait_closed()
