"""The door of the gateway: the addresses under /v1, as one small ASGI app without middleware."""

import logging
from collections.abc import Awaitable, Callable, Mapping

from starlette.types import Receive, Scope, Send

from roost_inference.errors import (
    BodyTooLarge,
    EngineError,
    EngineFailed,
    EngineUnavailable,
    QueueFull,
)
from roost_platform.gateway.errors import NotFoundHere, Waiting
from roost_platform.gateway.exchange import ClientGone, Exchange
from roost_platform.gateway.families.chat.family import ChatFamily
from roost_platform.gateway.families.family import GenerationFamily
from roost_platform.gateway.serving import Serving

log = logging.getLogger(__name__)

PREFIX = "/v1/"
Handler = Callable[[Exchange], Awaitable[None]]
ErrorBody = Callable[[EngineError, str], Mapping[str, object]]


class Gateway:
    """Serves every address under /v1. Errors go out in the form of the family that was asked."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._handlers: dict[tuple[str, str], Handler] = {}
        self._errors: dict[str, ErrorBody] = {}
        self._default_error: ErrorBody = ChatFamily().error
        self.add_generation("/v1/chat/completions", ChatFamily())

    def add_generation(self, path: str, family: GenerationFamily) -> None:
        """Serve POST on this address by a family."""

        async def generate(exchange: Exchange) -> None:
            await self._serving.generate(exchange, family)

        self.add("POST", path, generate, family.error)

    def add(self, method: str, path: str, handler: Handler, error: ErrorBody) -> None:
        """Serve an address."""
        self._handlers[method, path] = handler
        self._errors[path] = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange = Exchange(scope, receive, send)
        handler = self._handlers.get((exchange.method, exchange.path))
        try:
            if handler is None:
                raise self._unknown(exchange)
            await handler(exchange)
        except ClientGone:
            pass
        except EngineError as error:
            await self._refuse(exchange, error)
        except Exception:
            log.exception("request %s failed", exchange.request_id)
            await self._refuse(exchange, EngineFailed("The gateway has failed; see its log"))

    async def _refuse(self, exchange: Exchange, error: EngineError) -> None:
        """Answer with an error, unless the answer has begun: then it was its last event."""
        if exchange.has_begun:
            return
        error_body = self._errors.get(exchange.path, self._default_error)
        body = error_body(error, exchange.request_id)
        await exchange.answer(body, status=error.http_status, headers=_headers(error))

    def _unknown(self, exchange: Exchange) -> EngineError:
        methods = sorted(method for method, path in self._handlers if path == exchange.path)
        if methods:
            error = NotFoundHere(f"{exchange.path} takes {', '.join(methods)}")
            error.http_status, error.code = 405, "method_not_allowed"
            return error
        return NotFoundHere(f"There is no {exchange.method} {exchange.path[:200]}")


def _headers(error: EngineError) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    retry_after_s: float | None = None
    if isinstance(error, Waiting | QueueFull | EngineUnavailable):
        retry_after_s = error.retry_after_s
    if retry_after_s is not None:
        headers["retry-after"] = str(max(1, round(retry_after_s)))
    elif error.http_status == 503:
        headers["retry-after"] = "1"
    if error.http_status == 401:
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, BodyTooLarge):
        headers["connection"] = "close"
    return headers
