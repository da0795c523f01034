"""The routes that chat networks call; the channels check and read what comes in."""

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from roost_channels.kinds import ChannelKind, WebhookPorts
from roost_channels.webhook import (
    NOT_CONFIGURED,
    Handler,
    WebhookHandlers,
    WebhookReply,
    WebhookRequest,
    lowered,
)
from roost_platform.api.webhook_admission import WebhookAdmission
from roost_platform.db.artifacts import ArtifactStore
from roost_platform.intake import PlatformIntake
from roost_platform.settings.config import Settings


class Webhooks:
    """The handlers of every configured channel. They prove who asks, so no role is needed."""

    def __init__(
        self, settings: Settings, intake: PlatformIntake, artifacts: ArtifactStore
    ) -> None:
        self._kinds = settings.kinds
        self._admission = WebhookAdmission(time.monotonic)
        self._handlers: dict[str, WebhookHandlers] = {}
        ports = WebhookPorts(intake, settings.public_base_url or "", artifacts)
        for kind, config in settings.accounts():
            handlers = kind.webhooks(config, ports) if kind.webhooks else None
            if handlers is not None:
                self._handlers[kind.name] = handlers

    def routes(self) -> Sequence[Route]:
        """A route for each path of each channel, configured or not."""
        return [
            Route(
                route.path,
                _endpoint(self._handler(kind, route.path), self._admission),
                methods=list(route.methods),
            )
            for kind in self._kinds
            for route in kind.routes
        ]

    async def close(self) -> None:
        """Release what the handlers hold."""
        for handlers in self._handlers.values():
            await handlers.close()

    def _handler(self, kind: ChannelKind[Any], path: str) -> Handler:
        handlers = self._handlers.get(kind.name)
        return handlers.by_path[path] if handlers else _not_configured


def _endpoint(
    handler: Handler, admission: WebhookAdmission
) -> Callable[[Request], Awaitable[Response]]:
    """What the web framework calls; the handler itself knows no framework."""

    async def serve(request: Request) -> Response:
        ip = request.client.host if request.client else ""
        has_body = request.method == "POST"
        if has_body and (wait_s := admission.wait_s(ip)):
            return PlainTextResponse(
                "too many calls without a good proof\n",
                429,
                {"retry-after": str(math.ceil(wait_s)), "connection": "close"},
            )
        reply = await handler(
            WebhookRequest(
                method=request.method,
                url_path=_url_path(request),
                headers=lowered(request.headers),
                query=dict(request.query_params),
                path_values={name: str(value) for name, value in request.path_params.items()},
                body=await request.body(),
            )
        )
        if has_body:
            admission.note(ip, reply.status)
        return Response(reply.body, reply.status, dict(reply.headers), reply.content_type)

    return serve


async def _not_configured(_request: WebhookRequest) -> WebhookReply:
    return NOT_CONFIGURED


def _url_path(request: Request) -> str:
    """Path and query exactly as they came: signatures cover them."""
    raw = request.scope.get("raw_path") or request.url.path.encode()
    query = request.scope.get("query_string", b"")
    path = raw.split(b"?")[0].decode("latin-1")
    return f"{path}?{query.decode('latin-1')}" if query else path
