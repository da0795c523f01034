"""Lets requests in that bear the engine's key."""

import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from roost_inference.errors import EngineError
from roost_inference.http.exchange import error_response

# Supervisors, containers and Prometheus read these without a key: a state and figures, no texts.
OPEN_PATHS = frozenset({"/health", "/metrics", "/ping"})


class Unauthorized(EngineError):
    """The API key is missing or wrong."""

    http_status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class RequireKey:
    """ASGI wrapper: all but OPEN_PATHS needs `Authorization: Bearer KEY`."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._key = key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 without the key, else pass the request on."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            # White space as its own separator: clients put several spaces or a tab there.
            scheme, *rest = Headers(scope=scope).get("authorization", "").split(None, 1)[:2] or [""]
            sent = rest[0].strip().encode("latin-1") if rest else b""
            if scheme.lower() != "bearer" or not hmac.compare_digest(sent, self._key):
                await error_response(Unauthorized())(scope, receive, send)
                return
        await self._app(scope, receive, send)
