"""The connections to one provider: its address, its key, bounded bodies, refusals as errors."""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2

from roost_inference.client.events import READ_OUT_S
from roost_inference.client.network import is_loopback
from roost_inference.client.refusals import refusal
from roost_inference.errors import EngineUnavailable
from roost_platform.gateway.config import ProviderConfig
from roost_platform.gateway.errors import UnreadableAnswer
from roost_platform.gateway.providers.http.plain import PlainClient
from roost_platform.gateway.providers.http.response import Client, Response

ERROR_BYTES_MAX = 64 * 1024
ERROR_S = 10.0  # of an error's body that comes drop by drop
ANSWER_BYTES_MAX = 64 * 2**20
KEY_BYTES_MIN = 8  # a shorter key may be any word of an answer
WRITES = 6  # times the bound of connecting: so long may sending a body take
AGENT = "roost"
PROXIES = ("http", "https")


@lru_cache
def _tls(trusts_environment: bool) -> ssl.SSLContext:
    """The certificates that the system trusts, as everywhere in Roost; reading them takes 50 ms."""
    return httpx2.create_ssl_context(trust_env=trusts_environment)


def open_client(
    config: ProviderConfig, headers: Mapping[str, str], tls: ssl.SSLContext | None
) -> Client:
    """The client of one provider, whose connections all calls share. headers: of every request."""
    url = urlsplit(config.base_url)
    trusts_environment = not is_loopback(url.hostname or "")
    proxy = _proxy(url.scheme, url.hostname or "") if trusts_environment else None
    headers = {"accept-encoding": "identity", "user-agent": AGENT, **headers}
    if is_plain(config) and proxy is None:
        return PlainClient(
            config.base_url,
            headers,
            connect_s=config.connect_timeout_s,
            silence_s=config.read_timeout_s,
            sending_s=WRITES * config.connect_timeout_s,
        )
    # Loaded here: only a process that asks such providers needs it.
    from roost_platform.gateway.providers.http.aiohttp_client import AiohttpClient

    return AiohttpClient(
        headers,
        tls=tls,
        proxy=proxy,
        connect_s=config.connect_timeout_s,
        silence_s=config.read_timeout_s,
        # Connecting, sending the body, and a silence before the head of the answer.
        head_s=(2 + WRITES) * config.connect_timeout_s + config.read_timeout_s,
    )


def load_client(config: ProviderConfig) -> None:
    """Load the library that the first call to this provider would wait for otherwise."""
    if not is_plain(config):
        from roost_platform.gateway.providers.http import aiohttp_client  # noqa: F401


def is_plain(config: ProviderConfig) -> bool:
    """Whether this address needs neither TLS nor a login nor letters beyond ASCII in its host."""
    url = urlsplit(config.base_url)
    return url.scheme == "http" and url.username is None and url.netloc.isascii()


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


async def read_bounded(response: Response, most: int, key: bytes) -> bytes:
    """At most `most` bytes of the body, without our key, which some providers repeat."""
    body = bytearray()
    async for chunk in response.parts():
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
        url = urlsplit(config.base_url)
        trusts_environment = not is_loopback(url.hostname or "")
        self._tls = _tls(trusts_environment) if url.scheme == "https" else None
        self._client: Client | None = None

    async def close(self) -> None:
        """Close every connection."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """A response with whatever status. path: below `api`, or a whole address. Whoever closes it
        before the end of its body closes the connection at once.
        """
        if self._client is None:
            self._client = open_client(self._config, self._headers, self._tls)
        url = path if "://" in path else f"{self.api}{path}"
        response = await self._client.ask(method, url, content, headers or {})
        if response.status == 200 and _is_compressed(response):
            response.close()
            raise UnreadableAnswer("The provider's answer is compressed, unasked")
        return response

    async def ask_for(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """A response with status 200; any other one is raised as the error it means."""
        response = await self.ask(method, path, content=content, headers=headers)
        if response.status == 200:
            return response
        with contextlib.closing(response):
            text = await self.read_error(response)
        raise refusal(response.status, response.headers, text)

    async def read(self, response: Response, most: int = ANSWER_BYTES_MAX) -> bytes:
        """At most `most` bytes of the body, without our key, which some providers repeat."""
        return await read_bounded(response, most, self._key)

    async def read_error(self, response: Response) -> bytes:
        """The body of an error, bounded in bytes and in time; empty where it does not come in
        time.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ERROR_S):
                return await self.read(response, ERROR_BYTES_MAX)
        return b""


async def read_out(response: Response) -> None:
    """Read the end of a body whose last event has come: mostly it came with it. A connection whose
    answer was not read to its end is closed instead of kept for the next call.
    """
    if response.is_ended:
        return
    with contextlib.suppress(TimeoutError, EngineUnavailable):
        async with asyncio.timeout(READ_OUT_S):
            async for _ in response.parts():
                pass


def _is_compressed(response: Response) -> bool:
    return response.headers.get("content-encoding", "identity").strip().lower() != "identity"
