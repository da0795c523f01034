"""The port of /metrics: a process's own, on loopback unless a token guards it."""

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from roost_platform.telemetry.figures import CONTENT_TYPE, Figures

QUEUES_WITHIN_S = 3.0
LOOPBACK_HOSTS = ["127.0.0.1", "localhost"]

log = logging.getLogger(__name__)

Depths = Callable[[], Awaitable[Mapping[str, float]]]


def metrics_app(figures: Figures, token: str, depths: Depths | None) -> Starlette:
    """The app of the port. depths: reads the queues, in a process that shows them.

    Without a token only names of loopback are answered, so that no web page reads it by DNS
    rebinding. With one, a request must carry it as a bearer token.
    """

    async def metrics(request: Request) -> Response:
        given = request.headers.get("authorization", "")
        if token and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            return PlainTextResponse("The token is missing or wrong.\n", status_code=401)
        if depths is not None:
            try:
                figures.set_queues(await asyncio.wait_for(depths(), QUEUES_WITHIN_S))
            except Exception as error:
                log.warning("the queues can't be read for /metrics: %r", error)
        return Response(figures.exposition(), media_type=CONTENT_TYPE)

    hosts = ["*"] if token else LOOPBACK_HOSTS
    return Starlette(
        routes=[Route("/metrics", metrics)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)],
    )
