"""The client behind a reverse proxy, by the headers of those proxies that are configured."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

Address = IPv4Address | IPv6Address
HOPS_MAX = 32  # proxies in a row; entries before them are not read
SCHEMES = ("http", "https")


class ProxyNetworks:
    """The addresses and networks of our proxies."""

    def __init__(self, entries: Sequence[str]) -> None:
        self.networks = tuple(ip_network(entry, strict=False) for entry in entries)

    def contain(self, address: Address) -> bool:
        """Whether this is one of our proxies."""
        return any(address in one for one in self.networks if one.version == address.version)

    def has(self, text: str) -> bool:
        """Whether this text is the address of one of our proxies."""
        address = parse_address(text)
        return address is not None and self.contain(address)


class TrustedProxies:
    """Sets the client's address and the scheme from `X-Forwarded-For` and `X-Forwarded-Proto`.

    trusted: addresses and networks of our proxies. The headers of all others are ignored.
    `X-Forwarded-Host` is never read: a proxy passes the Host header on.
    """

    def __init__(self, app: ASGIApp, trusted: Sequence[str] = ()) -> None:
        self.app = app
        self.proxies = ProxyNetworks(trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request with the client's own address and scheme."""
        if scope["type"] in ("http", "websocket") and self.proxies.networks and scope.get("client"):
            host, port = scope["client"][0], scope["client"][1]
            peer = parse_address(host)
            if peer is not None and self.proxies.contain(peer):
                headers = Headers(scope=scope)
                asking = self._client(peer, headers.getlist("x-forwarded-for"))
                scope = {**scope, "client": (str(asking), 0 if asking != peer else port)}
                scheme = _last(headers.getlist("x-forwarded-proto")).lower()
                if scheme in SCHEMES and scope["type"] == "http":
                    scope["scheme"] = scheme
        await self.app(scope, receive, send)

    def _client(self, peer: Address, headers: Sequence[str]) -> Address:
        """The last hop before our proxies: each entry was added by the hop to its right.

        An entry that is not an address ends the search: nothing before it can be trusted.
        """
        asking = peer
        hops = ",".join(headers).split(",")
        for hop in reversed(hops[-HOPS_MAX:]):
            address = parse_address(hop)
            if address is None:
                break
            asking = address
            if not self.proxies.contain(address):
                break
        return asking


def parse_address(text: str) -> Address | None:
    """An address as proxies write it: bare, with a port, in brackets; None for anything else.

    Each client has one form of address: IPv4 inside IPv6 becomes IPv4. A zone may be any text, so
    an address with one is refused.
    """
    text = text.strip()
    if text.startswith("["):
        text, _, rest = text[1:].partition("]")
        if rest and not _is_port(rest):
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not _is_port(f":{port}"):
            return None
    if "%" in text:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_port(text: str) -> bool:
    return text[:1] == ":" and text[1:].isascii() and text[1:].isdecimal() and len(text) <= 6


def _last(headers: Sequence[str]) -> str:
    """The entry that the nearest proxy added."""
    return ",".join(headers).rpartition(",")[2].strip()
