"""Refuses requests that web pages of other sites make to the fakes."""

import re
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?")


@web.middleware
async def refuse_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer 403 to a request from another site's page, or under a name that is not loopback.

    A page can send simple requests to any port of this machine, and after DNS rebinding it can read
    the responses under its own name. Clients of the providers' APIs are programs without an Origin.
    """
    host = request.headers.get("Host", "")
    if _host_name(host) not in LOOPBACK_HOSTS:
        return web.json_response({"error": "This host name is not known."}, status=403)
    if _comes_from_elsewhere(request, host):
        return web.json_response({"error": "This request came from another site."}, status=403)
    return await handler(request)


def _comes_from_elsewhere(request: web.Request, host: str) -> bool:
    origin = request.headers.get("Origin")
    if origin is not None and _netloc(origin) != host.lower():
        return True
    return request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _host_name(host: str) -> str:
    match = _HOST.fullmatch(host)
    return (match[1] or match[2]).rstrip(".").lower() if match else ""
