"""The fakes without sockets: requests handed over in this process, on whatever clock it runs."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
from aiogram import Bot
from aiogram.exceptions import TelegramNetworkError
from aiogram.methods import TelegramMethod
from aiohttp import ServerDisconnectedError, web
from multidict import CIMultiDict, MultiDict

from roost_channels.telegram.client import RawSession



class ConnectFailed(Exception):
    """Nobody listens: the request did not leave."""


class ConnectionCut(Exception):
    """The connection broke before an answer came."""


class _Wire:
    """Stands for a connection's transport, which a fault may abort."""

    def __init__(self) -> None:
        self.is_cut = False

    def abort(self) -> None:
        self.is_cut = True


class LocalRequest:
    """As much of aiohttp's Request as the fakes look at."""

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
        self.transport = _Wire()
        self._body = body

    async def read(self) -> bytes:
        return self._body

    async def text(self) -> str:
        return self._body.decode()

    async def post(self) -> MultiDict[str]:
        return MultiDict(parse_qsl(self._body.decode(), keep_blank_values=True))


Handler = Callable[[Any], Awaitable[web.StreamResponse]]


async def serve(handler: Handler, request: LocalRequest) -> web.Response:
    """The handler's answer; ConnectionCut where a fault hung up."""
    answer = await handler(request)
    if request.transport.is_cut:
        raise ConnectionCut
    assert isinstance(answer, web.Response)
    return answer


Exchange = Callable[[LocalRequest, float], Awaitable[web.Response]]
"""Carries a request to its server within some seconds; raises ConnectFailed, ConnectionCut or
TimeoutError."""


class LocalTelegramSession(RawSession):
    """aiogram's session with the HTTP left out; errors are those that aiohttp's would become."""

    def __init__(self, exchange: Exchange, base: str = "http://telegram") -> None:
        from aiogram.client.telegram import TelegramAPIServer

        super().__init__(api=TelegramAPIServer.from_base(base))
        self._exchange = exchange

    async def make_request(
        self, bot: Bot, method: TelegramMethod[Any], timeout: int | None = None
    ) -> Any:
        url = self.api.api_url(token=bot.token, method=method.__api_method__)
        fields = {
            key: str(prepared)
            for key, value in method.model_dump(warnings=False).items()
            if (prepared := self.prepare_value(value, bot=bot, files={}))
        }
        body = httpx2.QueryParams(fields)
        request = LocalRequest(
            "POST", url, {}, str(body).encode(), "application/x-www-form-urlencoded"
        )
        try:
            answer = await self._exchange(request, float(timeout or 60))
        except TimeoutError as error:
            raise TelegramNetworkError(method=method, message="Request timeout error") from error
        except ConnectFailed as error:
            raise TelegramNetworkError(method=method, message="cannot connect") from _refused(error)
        except ConnectionCut:
            cut = ServerDisconnectedError()
            raise TelegramNetworkError(method=method, message=repr(cut)) from cut
        return self.check_response(bot, method, answer.status, answer.text or "").result

    async def close(self) -> None:
        """There is nothing to release."""


def _refused(error: Exception) -> Exception:
    from aiohttp.client_exceptions import ConnectionTimeoutError

    refused = ConnectionTimeoutError(str(error))
    return refused


class LocalTransport(httpx2.AsyncBaseTransport):
    """httpx2 with the HTTP left out."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
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
        except (TimeoutError, asyncio.TimeoutError) as error:
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
