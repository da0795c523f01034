"""The connections to one provider: its address, its key, bounded bodies, refusals as errors."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2

from roost_inference.client.events import READ_OUT_S
from roost_inference.client.network import is_loopback
from roost_inference.client.refusals import refusal
from roost_inference.errors import EngineUnavailable
from roost_platform.gateway.config import ProviderConfig
from roost_platform.gateway.errors import UnreadableAnswer

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

ERROR_BYTES_MAX = 64 * 1024
ERROR_S = 10.0  # of an error's body that comes drop by drop
ANSWER_BYTES_MAX = 64 * 2**20
HEAD_LINE_BYTES_MAX = 64 * 1024
IDLE_CONNECTION_S = 2.0  # below the 5 s after which servers close idle connections
CONNECTIONS_MAX = 512
KEY_BYTES_MIN = 8  # a shorter key may be any word of an answer
WRITES = 6  # times the bound of connecting: so long may sending a body take
PART_BYTES = 256 * 1024  # of a body that is sent in parts
AGENT = "roost"
PROXIES = ("http", "https")


@lru_cache
def _tls(trusts_environment: bool) -> ssl.SSLContext:
    """The certificates that the system trusts, as everywhere in Roost; reading them takes 50 ms."""
    return httpx2.create_ssl_context(trust_env=trusts_environment)


def open_session(
    config: ProviderConfig, headers: Mapping[str, str], tls: ssl.SSLContext | None
) -> "ClientSession":
    """The client of one provider, whose connections all calls share. headers: of every request."""
    # Loaded here: only a process that asks providers needs it.
    from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

    url = urlsplit(config.base_url)
    trusts_environment = not is_loopback(url.hostname or "")
    proxy = _proxy(url.scheme, url.hostname or "") if trusts_environment else None
    return ClientSession(
        connector=TCPConnector(
            limit=CONNECTIONS_MAX, keepalive_timeout=IDLE_CONNECTION_S, ssl=tls or True
        ),
        headers={"accept-encoding": "identity", "user-agent": AGENT, **headers},
        timeout=ClientTimeout(
            total=None,
            connect=2 * config.connect_timeout_s,  # with the wait for one of the connections
            sock_connect=config.connect_timeout_s,
            sock_read=config.read_timeout_s,
        ),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,  # none is asked for; a few bytes could become a thousand times more
        proxy=proxy,
        max_line_size=HEAD_LINE_BYTES_MAX,
        max_field_size=HEAD_LINE_BYTES_MAX,
    )


def _proxy(scheme: str, host: str) -> str | None:
    """The proxy that the environment names for this host. Raises EngineUnavailable for one of
    another kind than HTTP's.
    """
    if proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    kind = urlsplit(proxy or "http://").scheme
    if kind not in PROXIES:
        raise EngineUnavailable(f"The environment names a proxy by {kind}; only HTTP's can be used")
    return proxy


async def read_bounded(response: "ClientResponse", most: int, key: bytes) -> bytes:
    """At most `most` bytes of the body, without our key, which some providers repeat."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) >= most:
            break
    text = bytes(body[:most])
    return text.replace(key, b"[key]") if len(key) >= KEY_BYTES_MIN else text


class Connection:
    """Connections are kept and shared by all calls. api: the address that paths are added to;
    headers: those of every request. The first request opens them.
    """

    def __init__(self, config: ProviderConfig, api: str, headers: Mapping[str, str]) -> None:
        self.api = api
        self._config = config
        self._headers = headers
        self._key = config.api_key.get_secret_value().encode()
        # Connecting, sending the body, and a silence before the head of the answer.
        self._head_s = (2 + WRITES) * config.connect_timeout_s + config.read_timeout_s
        url = urlsplit(config.base_url)
        trusts_environment = not is_loopback(url.hostname or "")
        self._tls = _tls(trusts_environment) if url.scheme == "https" else None
        self._session: ClientSession | None = None

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None
            # aiohttp has only asked the transports to close: the loop does it in its next pass.
            await asyncio.sleep(0)

    @contextlib.asynccontextmanager
    async def answered(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator["ClientResponse"]:
        """A response with whatever status. path: below `api`, or a whole address. Whoever leaves
        before the end of its body closes the connection at once.
        """
        if self._session is None:
            self._session = open_session(self._config, self._headers, self._tls)
        url = path if "://" in path else f"{self.api}{path}"
        body: bytes | AsyncIterator[bytes] | None = content
        if content is not None and len(content) > PART_BYTES:
            headers = {**(headers or {}), "content-length": str(len(content))}
            body = _parts(content)
        async with asyncio.timeout(self._head_s):
            response = await self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False
            )
        try:
            if response.status == 200 and _is_compressed(response):
                raise UnreadableAnswer("The provider's answer is compressed, unasked")
            yield response
        finally:
            if not response.content.at_eof():
                _cut_off(response)
            response.release()

    @contextlib.asynccontextmanager
    async def accepted(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator["ClientResponse"]:
        """A response with status 200; any other one is raised as the error it means."""
        async with self.answered(method, path, content=content, headers=headers) as response:
            if response.status != 200:
                text = await self.read_error(response)
                raise refusal(response.status, response.headers, text)
            yield response

    async def read(self, response: "ClientResponse", most: int = ANSWER_BYTES_MAX) -> bytes:
        """At most `most` bytes of the body, without our key, which some providers repeat."""
        return await read_bounded(response, most, self._key)

    async def read_error(self, response: "ClientResponse") -> bytes:
        """The body of an error, bounded in bytes and in time; empty where it does not come in
        time.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ERROR_S):
                return await self.read(response, ERROR_BYTES_MAX)
        return b""


async def read_out(response: "ClientResponse") -> None:
    """Read the end of a body whose last event has come: mostly it came with it. A connection whose
    answer was not read to its end is closed instead of kept for the next call.
    """
    if response.content.at_eof():
        return
    from aiohttp import ClientError

    with contextlib.suppress(TimeoutError, ClientError):
        async with asyncio.timeout(READ_OUT_S):
            async for _ in response.content.iter_any():
                pass


def _is_compressed(response: "ClientResponse") -> bool:
    return response.headers.get("content-encoding", "identity").strip().lower() != "identity"


def _cut_off(response: "ClientResponse") -> None:
    """Close the connection without waiting for the other side, also where it is encrypted."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()


async def _parts(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), PART_BYTES):
        yield content[start : start + PART_BYTES]
