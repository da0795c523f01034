"""A connection to an engine is kept for the next call."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from roost_inference.client.engine_client import ChatRequest, EngineClient

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
    found, release = Counted(), asyncio.Event()
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connections += 1
        serving.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                writer.write(HEAD + chunk(EVENT) + chunk(b"data: [DONE]\n\n"))
                await writer.drain()
                await asyncio.sleep(0.01)  # what ends a body need not come with its last event
                if not ends:
                    await release.wait()
                    break
                writer.write(b"0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        release.set()
        server.close()
        await asyncio.gather(*(task for task in serving if task))


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
