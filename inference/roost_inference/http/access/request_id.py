"""Gives every answer the id of its request: the client's own, or a new one."""

import asyncio

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from roost_inference.errors import EngineUnavailable
from roost_inference.http.exchange import error_response
from roost_inference.wire.ids import REQUEST_ID, request_id, sent_id

_KEY = "roost.request_id"


def id_of(scope: Scope) -> str | None:
    """The id of a request that RequestIds has seen."""
    value = scope.get(_KEY)
    return value if isinstance(value, str) else None


class RequestIds:
    """ASGI wrapper: puts `x-request-id` on every answer. A request that the stopping server cuts
    off before its answer begins is told so with 503."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = scope[_KEY] = sent_id(scope["headers"]) or request_id()
        has_begun = False

        async def named(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                MutableHeaders(scope=message).setdefault(REQUEST_ID, name)
            await send(message)

        try:
            await self._app(scope, receive, named)
        except asyncio.CancelledError:
            if has_begun:
                raise
            stopping = EngineUnavailable("The engine is stopping")
            await error_response(stopping)(scope, receive, named)
