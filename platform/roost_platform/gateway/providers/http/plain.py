"""Asks one provider over plain HTTP/1.1: the way to an engine on this machine or beside it.

aiohttp's own work on a request takes longer than all of this. What it does besides, TLS and
proxies, counts for little on a way across the internet, and is left to it.
"""

import asyncio
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import quote, urlsplit

from roost_inference.errors import EngineUnavailable
from roost_platform.gateway.providers.http.losses import reason_of
from roost_platform.gateway.providers.http.plain_connection import PlainConnection, PlainResponse

CONNECTIONS_MAX: Final = 512
IDLE_S: Final = 2.0  # below the 5 s after which servers close idle connections
# What may stand in an address as it is: all that has a meaning there, and what is quoted already.
SAFE: Final = "!#$%&'()*+,/:;=?@[]~"


class PlainClient:
    """A client of one host; see Client. headers: of every request. silence_s, sending_s: see
    PlainConnection.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        connect_s: float,
        silence_s: float,
        sending_s: float,
    ) -> None:
        url = urlsplit(base_url)
        self._host, self._port = url.hostname or "", url.port or 80
        common = {"host": url.netloc, "accept": "*/*", **headers}
        self._common = b"".join(_line(name, value) for name, value in common.items())
        self._connect_s, self._silence_s, self._sending_s = connect_s, silence_s, sending_s
        self._places = asyncio.Semaphore(CONNECTIONS_MAX)
        self._open: set[PlainConnection] = set()
        self._idle: list[PlainConnection] = []  # the one that was used last stands last
        self._sweeping: asyncio.TimerHandle | None = None

    async def ask(
        self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]
    ) -> PlainResponse:
        """The answer with whatever status; see Client."""
        head = self._head(method, url, content, headers)
        await self._take_place()
        connection: PlainConnection | None = None
        try:
            connection = self._kept() or await self._connect()
            return await connection.ask(head, content or b"")
        except BaseException:
            if connection is not None:
                connection.abort()
            self._places.release()
            raise

    async def close(self) -> None:
        """Close every connection."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for connection in tuple(self._open):
            connection.abort()
        await asyncio.sleep(0)  # the loop closes them in its next pass

    def _head(
        self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]
    ) -> bytes:
        lines = [b"%b %b HTTP/1.1\r\n" % (method.encode(), _target(url)), self._common]
        lines += [_line(name, value) for name, value in headers.items()]
        if content is not None:
            lines.append(b"content-length: %d\r\n" % len(content))
        return b"".join([*lines, b"\r\n"])

    async def _take_place(self) -> None:
        if not self._places.locked():
            await self._places.acquire()
            return
        try:
            async with asyncio.timeout(self._connect_s):
                await self._places.acquire()
        except TimeoutError:
            raise _silent() from None

    def _kept(self) -> PlainConnection | None:
        """The connection that was used last, if it can be used again."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_reusable:
                return connection
        return None

    async def _connect(self) -> PlainConnection:
        def new() -> PlainConnection:
            return PlainConnection(self._silence_s, self._sending_s, self._released, self._lost)

        try:
            async with asyncio.timeout(self._connect_s):
                _, connection = await asyncio.get_running_loop().create_connection(
                    new, self._host, self._port
                )
        except TimeoutError:
            raise _silent() from None
        except OSError as error:
            raise EngineUnavailable(f"The provider can't be reached: {reason_of(error)}") from error
        self._open.add(connection)
        return connection

    def _released(self, connection: PlainConnection) -> None:
        self._places.release()
        if not connection.is_reusable:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._sweeping is None:
            self._sweeping = loop.call_later(IDLE_S, self._sweep)

    def _lost(self, connection: PlainConnection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _sweep(self) -> None:
        """Close the connections that nobody has used for a while."""
        loop = asyncio.get_running_loop()
        self._sweeping = None
        old = loop.time() - IDLE_S
        for connection in tuple(self._idle):
            if connection.idle_since > old:
                due = connection.idle_since + IDLE_S
                self._sweeping = loop.call_at(due, self._sweep)
                return
            self._idle.remove(connection)
            connection.abort()


def _line(name: str, value: str) -> bytes:
    line = f"{name}: {value}"
    if not line.isprintable() and any(mark in line for mark in "\r\n\0"):
        raise EngineUnavailable(f"The header {name!r} of a provider can't have a line break")
    return f"{line}\r\n".encode()


@lru_cache(maxsize=256)
def _target(url: str) -> bytes:
    """The path and the query of an address, as a request names them."""
    _, _, rest = url.partition("://")
    _, slash, path = rest.partition("/")
    return quote(f"/{path}" if slash else "/", safe=SAFE).encode()


def _silent() -> EngineUnavailable:
    return EngineUnavailable("The provider does not answer")
