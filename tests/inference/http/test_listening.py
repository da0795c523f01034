"""What the engine's socket must be like for its answers to leave at once."""

import asyncio
import socket
import time
from typing import Literal

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from roost_inference.http.listener import RestingServer, bind, listening


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


async def test_an_idle_server_sleeps_and_stops_at_once() -> None:
    looks: list[int] = []

    class Counting(RestingServer):
        async def on_tick(self, counter: int) -> bool:
            looks.append(counter)
            return await super().on_tick(counter)

    server = Counting(uvicorn.Config(_nothing, port=0, lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    assert not looks
    # As a signal handler or another thread does it.
    await asyncio.to_thread(setattr, server, "should_exit", True)
    await asyncio.wait_for(serving, 10.0)


async def test_a_server_that_is_stopped_before_it_runs_ends() -> None:
    server = RestingServer(uvicorn.Config(_nothing, port=0, lifespan="off", log_config=None))

    class Stopping(asyncio.Event):
        async def wait(self) -> Literal[True]:
            raise AssertionError("nobody would set it")

    server._stopping = Stopping()
    server.should_exit = True
    await asyncio.wait_for(server.main_loop(), 10.0)


async def test_no_connection_is_left_behind_a_server_that_has_stopped() -> None:
    size = 32 * 2**20
    head = {"type": "http.response.start", "status": 200, "headers": []}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(head)
        await send({"type": "http.response.body", "body": bytes(size)})

    async with listening(app) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readexactly(1)  # and then reads no more
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(size)
    writer.close()


async def test_each_answer_bears_the_date_of_its_own_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = iter((1000.2, 1000.9, 1001.0, 5000.0))
    monkeypatch.setattr(time, "time", lambda: next(times))
    for own in (True, False):
        config = uvicorn.Config(_nothing, date_header=own, headers=[("a", "b")], log_config=None)
        config.load()
        state = RestingServer(config).server_state
        times = iter((1000.2, 1000.9, 1001.0, 5000.0))
        seen = [dict(state.default_headers).get(b"date", b"")[-12:] for _ in range(4)]
        dates = [b"00:16:40 GMT", b"00:16:40 GMT", b"00:16:41 GMT", b"01:23:20 GMT"]
        assert seen == (dates if own else [b""] * 4)
        times = iter((6000.0,))
        assert (b"a", b"b") in state.default_headers


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("nobody asks")
