"""Silent and slow connections do not hold up the fakes."""

import asyncio
import contextlib

import httpx2
import pytest

from roost_channels.testing import FakeTelegram, bounded, loopback

HEAD = b"POST /sim/reset HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n"


async def rest(port: int, data: bytes) -> bytes:
    """What comes until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_silent_connection_half_a_head_and_half_a_body_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounded, "BODY_S", 0.2)
    make = bounded.BoundedListener
    monkeypatch.setattr(loopback, "BoundedListener", lambda server: make(server, head_s=0.2))
    async with FakeTelegram() as fake:
        port = int(fake.base_url.rpartition(":")[2])
        assert await rest(port, b"") == b""
        assert await rest(port, HEAD[:20]) == b""
        assert await rest(port, HEAD + b"half") == b""


async def test_connections_beyond_the_bound_are_closed_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounded, "CONNECTIONS_MAX", 4)
    async with FakeTelegram() as fake:
        port = int(fake.base_url.rpartition(":")[2])
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        assert await rest(port, b"") == b""
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        async with httpx2.AsyncClient(base_url=fake.base_url, trust_env=False) as http:
            assert (await http.get("/sim/calls")).status_code == 200
