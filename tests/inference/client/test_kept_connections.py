"""A connection to an engine is kept for the next call."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from roost_inference.client.engine_client import ChatRequest, EngineClient
from roost_inference.testing.raw_server import raw_server

ASK = ChatRequest(messages=[{"role": "user", "content": "hi"}])
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = (
    b'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}\n\n'
)


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


@dataclass
class Counted:
    """A server that counts its connections."""

    url: str = ""
    connections: int = 0


@contextlib.asynccontextmanager
async def counting(*, ends: bool) -> AsyncIterator[Counted]:
    """ends: whether the body ends after its last event, or stays open."""
    found = Counted()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connections += 1
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            writer.write(HEAD + chunk(EVENT) + chunk(b"data: [DONE]\n\n"))
            await writer.drain()
            await asyncio.sleep(0.01)  # what ends a body need not come with its last event
            if not ends:
                await asyncio.Event().wait()
            writer.write(b"0\r\n\r\n")

    async with raw_server(serve) as found.url:
        yield found


async def answers(url: str) -> list[str]:
    client = EngineClient(url, model="m")
    texts = [(await client.complete(ASK)).text for _ in range(3)]
    await client.close()
    return texts


async def test_calls_one_after_another_share_a_connection() -> None:
    async with counting(ends=True) as server:
        assert await answers(server.url) == ["Hi"] * 3
        assert server.connections == 1


async def test_a_body_that_stays_open_behind_its_end_holds_nobody_up() -> None:
    async with counting(ends=False) as server:
        assert await answers(server.url) == ["Hi"] * 3
        assert server.connections == 3
