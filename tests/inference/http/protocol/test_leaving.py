"""An app hears at once that its client has gone, and an answer goes out before the app goes on."""

import asyncio
import socket
import threading
from typing import Any

from starlette.types import Receive, Scope, Send

from roost_inference.http.listener import listening
from roost_inference.http.protocol.leaving import LEAVING

REQUEST = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}"
SOON_S = 20.0


class App:
    """Waits for the end of each client; `left` counts those that have told it."""

    def __init__(self) -> None:
        self.asked = 0
        self.left = 0

    def _leave(self) -> None:
        self.left += 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        self.asked += 1
        extensions: dict[str, Any] = scope["extensions"]
        extensions[LEAVING](self._leave)
        before = self.left
        async with asyncio.timeout(SOON_S):
            while self.left == before:
                await asyncio.sleep(0.005)


async def until(app: App, left: int) -> None:
    async with asyncio.timeout(SOON_S):
        while app.left < left:
            await asyncio.sleep(0.005)


async def test_a_client_that_goes_is_told_of_once_each() -> None:
    app = App()
    async with listening(app) as url:
        port = int(url.rpartition(":")[2])
        for number in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(REQUEST)
            await writer.drain()
            async with asyncio.timeout(SOON_S):
                while app.asked == number:
                    await asyncio.sleep(0.005)
            assert app.left == number
            writer.close()
            await until(app, number + 1)
    assert app.left == 3


async def test_a_client_that_is_gone_before_the_app_asks_is_told_of_at_once() -> None:
    told: list[str] = []
    lost = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope["extensions"][LEAVING](lambda: told.append("left"))
        lost.set()

    async with listening(app) as url:
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(REQUEST)
        await writer.drain()
        writer.close()
        async with asyncio.timeout(SOON_S):
            await lost.wait()
    assert told == ["left"]


async def test_an_answer_goes_out_before_the_app_goes_on() -> None:
    arrived = threading.Event()
    was_there: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})
        was_there.append(arrived.wait(SOON_S))  # nothing else runs meanwhile

    def ask(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), SOON_S) as connection:
            connection.sendall(REQUEST)
            got = b""
            while b"0\r\n\r\n" not in got:
                got += connection.recv(4096)
        arrived.set()

    async with listening(app) as url:
        await asyncio.to_thread(ask, int(url.rpartition(":")[2]))
        async with asyncio.timeout(SOON_S):
            while not was_there:
                await asyncio.sleep(0.005)
    assert was_there == [True]
