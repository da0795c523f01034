"""A server whose connections a test reads and writes itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def raw_server(serve: Serve, *, limit: int = 2**16) -> AsyncIterator[str]:
    """The base URL of a server that calls `serve` with each connection.

    A connection is closed when its call ends. At the end of the block the calls that still run are
    cancelled, and every connection is closed before the event loop goes: nothing is left for the
    garbage collector, which would find it in another test. limit: bytes that a reader may hold.
    Raises the errors of calls; those of connections that clients leave are none.
    """
    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await serve(reader, writer)
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections[asyncio.create_task(attend(reader, writer))] = writer

    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=limit)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for call in connections:
            call.cancel()
        ended = await asyncio.gather(*connections, return_exceptions=True)
        for writer in connections.values():
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
    for error in ended:
        if isinstance(error, Exception):
            raise error
