"""What the engine's socket must be like for its answers to leave at once."""

import asyncio
import socket
import time

import uvicorn
from starlette.types import Receive, Scope, Send

from roost_inference.http.listener import TICK_S, RestingServer, bind


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


async def test_an_idle_server_wakes_once_a_second_and_stops_at_once() -> None:
    ticks: list[float] = []

    class Counting(RestingServer):
        async def on_tick(self, counter: int) -> bool:
            ticks.append(time.monotonic())
            return await super().on_tick(counter)

    config = uvicorn.Config(_nothing, port=0, lifespan="off", log_config=None)
    server = Counting(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    await asyncio.sleep(1.5)
    assert len(ticks) <= 3
    # As a signal handler or another thread does it.
    began = time.monotonic()
    await asyncio.to_thread(setattr, server, "should_exit", True)
    await serving
    assert time.monotonic() - began < TICK_S


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("nobody asks")
