"""Leads a request to the gateway or to the rest of the web app, before any middleware."""

from starlette.types import ASGIApp, Receive, Scope, Send

from roost_platform.gateway.door import PREFIX


class Front:
    """The gateway has bounds and errors of its own, and a client that leaves must reach it at once;
    everything else passes the middleware of the console.
    """

    def __init__(self, app: ASGIApp, gateway: ASGIApp | None) -> None:
        self.app = app
        self.gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request by the app that its path belongs to."""
        if self.gateway is not None and scope["type"] == "http" and _is_gateway_s(scope):
            await self.gateway(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def _is_gateway_s(scope: Scope) -> bool:
    path: str = scope["path"]
    return (
        path.startswith(PREFIX)
        or path == PREFIX.rstrip("/")
        # A client of the API looks whether its base address lives; people read it with GET.
        or (path == "/" and bool(scope["method"] == "HEAD"))
    )
