"""What the engine's socket must be like for its answers to leave at once."""

import asyncio
import socket

from roost_inference.http.listener import bind


async def test_small_writes_do_not_wait_for_acknowledgements() -> None:
    held: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        held.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listener = bind("127.0.0.1", 0)
    async with await asyncio.start_server(serve, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname()[:2])
        assert await held != 0
        writer.close()
