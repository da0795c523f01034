"""Fetches files from addresses that somebody else names: guarded, bounded, without our secrets.

A provider's answer, or whoever forges one, chooses such an address. So only public addresses are
asked, and we connect to the very address that was checked: a name that resolves differently a
moment later leads nowhere. Redirects are checked one by one and get no credentials.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal
from urllib.request import getproxies, proxy_bypass

import httpx2

from roost_channels.errors import DeliveryError, NotSent, Rejected

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 20.0
# One file with all its redirects, however slowly it comes.
FETCH_TIMEOUT_S = 120.0
REDIRECTS_MAX = 3
# Addresses of one name that are tried.
ADDRESSES_MAX = 8
CONNECTIONS_MAX = 10
URL_CHARS_MAX = 8192

Reach = Literal["public", "loopback", "private", "refused"]
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

# What Python's `is_global` lets pass though it leads elsewhere or to nobody: relays and translators
# of IPv6, of which each address stands for one of IPv4.
_TRANSLATED = tuple(map(ip_network, ("192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20")))
_UNICAST = ip_network("2000::/3")
_PRIVATE = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
# `0x7f.1`, `017700000001` and `2130706433` are addresses to a resolver; nobody writes them openly.
_NUMERIC_END = re.compile(r"(?:^|\.)(?:0x[0-9a-f]*|[0-9]+)\.?$", re.IGNORECASE)


def reach(address: str) -> Reach:
    """Where an address leads. Only `public` ones are for everybody; `refused` for nobody."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return "refused"
    if ip.is_loopback:
        return "loopback"
    if any(ip in network for network in _PRIVATE):
        return "private"
    if not ip.is_global or ip.is_multicast or any(ip in network for network in _TRANSLATED):
        return "refused"
    return "public" if isinstance(ip, IPv4Address) or ip in _UNICAST else "refused"


class Egress:
    """Gets files for one account of a provider.

    api_base: the provider's API as the settings name it. Where that is on loopback or in a private
        network, as fakes are, this very address, port and scheme may be asked as well.
    resolve: (host, port) → addresses. transport: for simulations, which have no network.
    """

    def __init__(
        self,
        api_base: str,
        *,
        resolve: Resolve | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._base = api_base
        self._resolve = resolve or _resolve
        self._transport = transport
        self._http: httpx2.AsyncClient | None = None

    @asynccontextmanager
    async def get(
        self, url: str, *, credentials: Mapping[str, str] | None = None
    ) -> AsyncIterator[httpx2.Response]:
        """The answer behind all redirects, its body unread; FETCH_TIMEOUT_S for everything.

        credentials: headers for this URL alone; the caller has made sure whose it is.
        Raises Rejected for an address that must not be asked, NotSent where nobody answers.
        """
        at, headers = _parsed(url), dict(credentials or {})
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(asyncio.timeout(FETCH_TIMEOUT_S))
            for _ in range(REDIRECTS_MAX + 1):
                hop = await stack.enter_async_context(AsyncExitStack())
                response = await self._request(hop, at, headers)
                if not response.has_redirect_location:
                    if response.headers.get("Content-Encoding", "identity") != "identity":
                        raise Rejected("the file comes compressed, unasked", code="egress")
                    yield response
                    return
                following = _joined(at, response.headers["Location"])
                if at.scheme == "https" and following.scheme != "https":
                    raise Rejected("a redirect away from https", code="egress")
                await hop.aclose()
                at, headers = following, {}
        raise Rejected(f"more than {REDIRECTS_MAX} redirects", code="egress")

    async def post(self, url: str, body: bytes, *, content_type: str) -> int:
        """Send a body once, without redirects; the status of the answer, which is not read.

        Raises Rejected for an address that must not be asked, NotSent where nobody answers.
        """
        headers = {"Content-Type": content_type}
        async with asyncio.timeout(READ_TIMEOUT_S), AsyncExitStack() as stack:
            response = await self._request(stack, _parsed(url), headers, body)
            return response.status_code

    async def close(self) -> None:
        """Release the connections."""
        if self._http is not None:
            await self._http.aclose()

    async def _request(
        self,
        stack: AsyncExitStack,
        url: httpx2.URL,
        headers: Mapping[str, str],
        body: bytes | None = None,
    ) -> httpx2.Response:
        """Connect to the first of the host's checked addresses that answers."""
        host = url.host
        # A file is not unpacked: its size is what comes over the wire.
        shown = {**headers, "Host": url.netloc.decode("ascii"), "Accept-Encoding": "identity"}
        failure: DeliveryError | None = None
        for address in await self._checked(url):
            try:
                return await stack.enter_async_context(
                    self._client().stream(
                        "GET" if body is None else "POST",
                        url.copy_with(host=address),
                        content=body,
                        headers=shown,
                        # The certificate is the name's, not the address's.
                        extensions={"sni_hostname": host} if address != host else {},
                    )
                )
            except (httpx2.HTTPError, OSError) as error:
                words = str(error) or type(error).__name__
                failure = NotSent(words, code="network")
                if not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
                    break
        raise failure or NotSent(f"{host} has no address", code="network")

    async def _checked(self, url: httpx2.URL) -> Sequence[str]:
        """The addresses to connect to; Rejected where the host has one that is not allowed.

        Of a host with an inner address only the addresses of the configured API remain.
        """
        host, (_, port) = url.host, _service(url)
        if self._transport is not None:
            return (host,)
        try:
            addresses = await self._addresses(host, port)
        except NotSent:
            if _is_proxied(url):  # whose resolver knows what ours need not know
                return (host,)
            raise
        inner = [address for address in addresses if reach(address) != "public"]
        if inner:
            own = await self._own_addresses(url)
            addresses = [address for address in addresses if address in own]
            if not addresses:
                raise Rejected(f"{host} is at {inner[0]}, which may not be asked", code="egress")
        # A proxy resolves the name itself; it is the operator's, and so is what it lets pass.
        return (host,) if _is_proxied(url) else addresses[:ADDRESSES_MAX]

    async def _own_addresses(self, url: httpx2.URL) -> Sequence[str]:
        """Where the API of the settings lies inside, if this URL has its scheme and port."""
        base = httpx2.URL(self._base) if self._base else None
        if base is None or not base.host or _service(base) != _service(url):
            return ()
        addresses = await self._addresses(base.host, _service(base)[1])
        return [address for address in addresses if reach(address) in ("loopback", "private")]

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            return list(dict.fromkeys(await self._resolve(host, port)))
        except (OSError, UnicodeError) as error:
            raise NotSent(f"{host} has no address: {error}", code="network") from error

    def _client(self) -> httpx2.AsyncClient:
        if self._http is None:
            self._http = httpx2.AsyncClient(
                timeout=httpx2.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
                # A connection serves one name: its certificate was checked for that one only.
                limits=httpx2.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=0),
                follow_redirects=False,
                transport=self._transport,
            )
        return self._http


_DEFAULT_PORTS = {"http": 80, "https": 443}


def _service(url: httpx2.URL) -> tuple[str, int]:
    """The scheme and the port that a URL asks."""
    return url.scheme, url.port or _DEFAULT_PORTS.get(url.scheme, 443)


def _parsed(url: str) -> httpx2.URL:
    """A URL that may be asked as far as it shows; Rejected with the reason for others."""
    if len(url) > URL_CHARS_MAX:
        raise Rejected("a URL that is too long", code="egress")
    try:
        return _allowed(httpx2.URL(url))
    except (httpx2.InvalidURL, UnicodeError, ValueError) as error:
        raise Rejected(f"not a URL: {error}", code="egress") from error


def _joined(at: httpx2.URL, location: str) -> httpx2.URL:
    if len(location) > URL_CHARS_MAX:
        raise Rejected("a redirect to a URL that is too long", code="egress")
    try:
        return _allowed(at.join(location))
    except (httpx2.InvalidURL, UnicodeError, ValueError) as error:
        raise Rejected(f"a redirect to no URL: {error}", code="egress") from error


def _allowed(url: httpx2.URL) -> httpx2.URL:
    if url.scheme not in _DEFAULT_PORTS:
        raise Rejected(f"{url.scheme or 'no'} scheme, and not http", code="egress")
    if url.userinfo:
        raise Rejected("a URL with a user's name in it", code="egress")
    if not url.host or "%" in url.host or (url.port or 80) > 65_535:
        raise Rejected("a URL without a host that can be asked", code="egress")
    if _NUMERIC_END.search(url.host) and not _is_plain(url.host):
        raise Rejected("an address in a disguised form", code="egress")
    return url


def _is_plain(host: str) -> bool:
    """Whether this is an address as everybody writes it."""
    try:
        return isinstance(ip_address(host), IPv6Address) or str(ip_address(host)) == host
    except ValueError:
        return False


def _is_proxied(url: httpx2.URL) -> bool:
    return url.scheme in getproxies() and not proxy_bypass(url.host)


async def _resolve(host: str, port: int) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]
