"""Middleware for the whole web app: known hosts, headers, no cross-site writes, small bodies."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from roost_inference.http.access.origin import LOOPBACK_HOSTS, host_name

BODY_BYTES_MAX = 1024 * 1024
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    # Not no-referrer: a form post would say `Origin: null`, and over plain http nothing better.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class SecurityHeaders:
    """Adds to every response what a browser may do with it; a response's own headers win."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request and add the headers to its response."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self.app(scope, receive, send_with_headers)


class KnownHosts:
    """Answers 400 for an unknown Host header, against DNS rebinding. `*` allows all hosts."""

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        self.app = app
        self.allowed = frozenset(host.lower() for host in allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request if its host is known."""
        if scope["type"] == "http" and "*" not in self.allowed:
            host = host_name(Headers(scope=scope).get("host", ""))
            if host not in self.allowed:
                response = PlainTextResponse("This host name is not configured.\n", status_code=400)
                await response(scope, receive, send)
                return
        await self.app(scope, receive, send)


class SameOriginWrites:
    """Answers 403 for a write that another site makes, by Fetch Metadata, else by Origin.

    A request with neither is refused. Paths under `exempt` are proven by bearer tokens or
    signatures and ignore cookies.
    """

    def __init__(self, app: ASGIApp, exempt: Sequence[str]) -> None:
        self.app = app
        self.exempt = tuple(exempt)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request unless another site made it."""
        if (
            scope["type"] == "http"
            and scope["method"] not in SAFE_METHODS
            and not scope["path"].startswith(self.exempt)
            and not is_same_origin(Headers(scope=scope))
        ):
            response = PlainTextResponse("This request came from another site.\n", status_code=403)
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)


def is_same_origin(headers: Headers) -> bool:
    """Whether the browser says that our own page (or the person) made this request."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    try:
        return origin is not None and urlsplit(origin).netloc == headers.get("host", "")
    except ValueError:  # the Origin is not an address
        return False


def known_hosts(allowed_hosts: Sequence[str], public_base_url: str) -> Sequence[str]:
    """The host names of the web port: loopback, those allowed, and that of the public address."""
    hosts = [*LOOPBACK_HOSTS, *(host.lower() for host in allowed_hosts)]
    if public := host_name(urlsplit(public_base_url).netloc):
        hosts.append(public)
    return hosts


def console_middleware(
    *,
    allowed_hosts: Sequence[str] = (),
    public_base_url: str = "",
    exempt: Sequence[str] = ("/api/", "/hooks/"),
    body_bytes_max: int = BODY_BYTES_MAX,
) -> list[Middleware]:
    """The middleware of the whole app, outermost first."""
    return [
        Middleware(SecurityHeaders),
        Middleware(KnownHosts, allowed=known_hosts(allowed_hosts, public_base_url)),
        Middleware(RequestBodyLimitMiddleware, max_body_size=body_bytes_max),
        Middleware(SameOriginWrites, exempt=exempt),
    ]
