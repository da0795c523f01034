"""Bounds on the connections of a fake: how many, and how long a request may take to arrive."""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

CONNECTIONS_MAX: Final = 512
HEAD_S: Final = 10.0
BODY_S: Final = 60.0
IDLE_S: Final = 75.0  # as aiohttp's own default was for long; clients keep connections that long
HEAD_END: Final = b"\r\n\r\n"


class BoundedListener:
    """Hands connections to aiohttp's protocols; refuses those beyond CONNECTIONS_MAX."""

    def __init__(self, make: Callable[[], asyncio.Protocol], head_s: float = HEAD_S) -> None:
        self._make = make
        self._head_s = head_s
        self.open: set[asyncio.BaseTransport] = set()

    def __call__(self) -> asyncio.Protocol:
        """The protocol of a new connection."""
        return _Connection(self, self._make(), self._head_s)


class _Connection(asyncio.Protocol):
    """Passes all on to the inner protocol. The first request's head has to come in time; aiohttp
    bounds the wait for later ones itself."""

    def __init__(self, listener: BoundedListener, inner: asyncio.Protocol, head_s: float) -> None:
        self._listener = listener
        self._inner = inner
        self._head_s = head_s
        self._tail = b""
        self._timer: asyncio.TimerHandle | None = None
        self._is_refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection in, or close it."""
        if len(self._listener.open) >= CONNECTIONS_MAX:
            self._is_refused = True
            transport.close()
            return
        self._transport = transport
        self._listener.open.add(transport)
        self._timer = asyncio.get_running_loop().call_later(self._head_s, transport.close)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass on what came; the end of the head ends the time limit."""
        if self._is_refused:
            return
        if self._timer is not None:
            self._tail = self._tail[1 - len(HEAD_END) :] + data
            if HEAD_END in self._tail:
                self._end_timer()
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """The client sends no more."""
        return None if self._is_refused else self._inner.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection."""
        if not self._is_refused:
            self._end_timer()
            self._listener.open.discard(self._transport)
            self._inner.connection_lost(error)

    def pause_writing(self) -> None:
        """The client does not read."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._inner.resume_writing()

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


@web.middleware
async def bounded_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Hang up unless the body has come in BODY_S."""

    def look() -> None:
        if not request.content.is_eof() and request.transport is not None:
            request.transport.close()

    timer = asyncio.get_running_loop().call_later(BODY_S, look)
    try:
        return await handler(request)
    finally:
        timer.cancel()
