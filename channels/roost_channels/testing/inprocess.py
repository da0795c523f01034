"""Passes requests to the fakes inside this process, without sockets and on any clock."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
from aiohttp import web
from multidict import CIMultiDict, MultiDict


class ConnectFailed(Exception):
    """The server refused the connection: the request was not sent."""


class ConnectionCut(Exception):
    """The connection broke before a response came."""


class _LocalConnection:
    """Replaces a connection's transport; a fault may abort it."""

    def __init__(self) -> None:
        self.is_cut = False

    def abort(self) -> None:
        self.is_cut = True


class LocalRequest:
    """The part of aiohttp's Request that the fakes use."""

    def __init__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, content_type: str
    ) -> None:
        parts = urlsplit(url)
        self.method = method
        self.path = parts.path
        self.path_qs = f"{parts.path}?{parts.query}" if parts.query else parts.path
        self.query = MultiDict(parse_qsl(parts.query, keep_blank_values=True))
        self.headers = CIMultiDict(headers)
        self.content_type = content_type.partition(";")[0]
        self.can_read_body = bool(body)
        self.transport = _LocalConnection()
        self._body = body

    async def read(self) -> bytes:
        """The body."""
        return self._body

    async def text(self) -> str:
        """The body as UTF-8 text."""
        return self._body.decode()

    async def post(self) -> MultiDict[str]:
        """The body as an URL-encoded form."""
        return MultiDict(parse_qsl(self._body.decode(), keep_blank_values=True))


Handler = Callable[[Any], Awaitable[web.StreamResponse]]


async def serve_request(handler: Handler, request: LocalRequest) -> web.Response:
    """The handler's response; ConnectionCut when a fault cut the connection."""
    answer = await handler(request)
    if request.transport.is_cut:
        raise ConnectionCut
    assert isinstance(answer, web.Response)
    return answer


Exchange = Callable[[LocalRequest, float], Awaitable[web.Response]]
"""Sends a request to its server and returns the response, within a number of seconds.

Raises ConnectFailed, ConnectionCut or TimeoutError."""


class LocalTransport(httpx2.AsyncBaseTransport):
    """A transport of httpx2 that passes requests to an Exchange instead of a socket."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The response of the exchange; its errors become those of httpx2."""
        body = await request.aread()
        local = LocalRequest(
            request.method,
            str(request.url),
            dict(request.headers),
            body,
            request.headers.get("content-type", ""),
        )
        limits = request.extensions.get("timeout") or {}
        try:
            answer = await self._exchange(local, float(limits.get("read") or 20.0))
        except TimeoutError as error:
            raise httpx2.ReadTimeout("no answer in time", request=request) from error
        except ConnectFailed as error:
            raise httpx2.ConnectError("connection refused", request=request) from error
        except ConnectionCut as error:
            raise httpx2.RemoteProtocolError("disconnected", request=request) from error
        return httpx2.Response(
            answer.status,
            headers=dict(answer.headers),
            content=answer.body if isinstance(answer.body, bytes) else b"",
            request=request,
        )
