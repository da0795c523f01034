"""Keeps web pages away from the engine's port: known Host names, and no request of another site."""

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from roost_inference.errors import InvalidRequest
from roost_inference.http.exchange import error_response

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
WILDCARDS = ("0.0.0.0", "::", "")
# A name or an address in brackets, and a port. Nothing else: `evil@localhost` names no host.
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?")


class ForeignHost(InvalidRequest):
    """The engine does not serve this host name; ROOST_ENGINE__ALLOWED_HOSTS lists more."""

    http_status = 403
    code = "host_not_allowed"


class ForeignOrigin(InvalidRequest):
    """A web page of another site made this request."""

    http_status = 403
    code = "origin_not_allowed"


class KnownClients:
    """ASGI wrapper: 403 for a host name that is not ours, and for requests of another site's page.

    A page can send simple requests to any port of this machine, and after DNS rebinding read the
    answers under its own name. Programs send no Origin. Loopback names and the address we listen
    on are known; a server on every address also answers to IP addresses, which no page can rebind.
    """

    def __init__(self, app: ASGIApp, listens_on: str, allowed: Iterable[str] = ()) -> None:
        self._app = app
        self._any_address = listens_on in WILDCARDS
        self._hosts = frozenset(h.lower() for h in (*LOOPBACK_HOSTS, listens_on, *allowed) if h)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 to an unknown host or a foreign page, else pass the request on."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            if not self._knows(headers.get("host", "")):
                await error_response(ForeignHost())(scope, receive, send)
                return
            if comes_from_elsewhere(headers):
                await error_response(ForeignOrigin())(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _knows(self, host: str) -> bool:
        name = host_name(host)
        return name in self._hosts or (self._any_address and _is_address(name))


def comes_from_elsewhere(headers: Headers) -> bool:
    """Whether a browser says that a page of another site, or of another port, made the request.

    Reading counts too: a page can't see the answer, but can cause and time it.
    """
    origin = headers.get("origin")
    if origin is not None and _netloc(origin) != headers.get("host", "").lower():
        return True
    return headers.get("sec-fetch-site", "none") not in ("none", "same-origin")


def host_name(host: str) -> str:
    """The name in a Host header, without port, brackets or trailing dot; empty if malformed."""
    match = _HOST.fullmatch(host)
    return (match[1] or match[2]).rstrip(".").lower() if match else ""


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
