"""A provider on loopback that writes what a test says, and what tests ask it for."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from roost_platform.gateway.providers.http.plain import PlainClient
from roost_platform.gateway.providers.http.response import Response

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"content-length: 5\r\n\r\nhello"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
PATIENCE_S = 20.0
SHORT_S = 0.2

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Provider:
    """Answers each request of a connection by `answer`; notes connections and their ends."""

    def __init__(self) -> None:
        self.answer: Answer = writing(HELLO)
        self.requests: list[bytes] = []
        self.opened = 0
        self.ended = 0
        self.reads = asyncio.Event()
        self.reads.set()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.opened += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await self.reads.wait()
                self.requests.append(head + await reader.readexactly(int(length or 0)))
                await self.answer(writer)
                await writer.drain()
        self.ended += 1


def writing(*parts: bytes, pause_s: float = 0.0, ends: bool = False) -> Answer:
    """An answer of these parts. ends: the connection ends behind it."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)
        if ends:
            writer.close()
            await writer.wait_closed()
            raise ConnectionResetError

    return answer


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


async def ask(client: PlainClient, provider: Provider, content: bytes = b"{}") -> Response:
    return await client.ask("POST", f"{provider.url}/v1/chat", content, {"x-session-id": "s"})


async def body_of(response: Response) -> bytes:
    with contextlib.closing(response):
        return b"".join([part async for part in response.parts()])
