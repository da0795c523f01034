"""The connections to one provider: its address, its key, bounded bodies, refusals as errors."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2

from roost_inference.client.network import is_loopback
from roost_inference.client.refusals import refusal
from roost_platform.gateway.config import ProviderConfig

ERROR_BYTES_MAX = 64 * 1024
ERROR_S = 10.0  # of an error's body that comes drop by drop
ANSWER_BYTES_MAX = 64 * 2**20
IDLE_CONNECTION_S = 2.0  # below the 5 s after which servers close idle connections
CONNECTIONS_MAX = 512
KEY_BYTES_MIN = 8  # a shorter key may be any word of an answer
VERSION = "/v1"


def open_client(config: ProviderConfig, headers: Mapping[str, str]) -> httpx2.AsyncClient:
    """The client of one provider, whose connections all calls share. headers: of every request."""
    return httpx2.AsyncClient(
        headers={"accept-encoding": "identity", **headers},
        timeout=httpx2.Timeout(
            config.read_timeout_s,
            connect=config.connect_timeout_s,
            write=config.connect_timeout_s * 6,
            pool=config.connect_timeout_s,
        ),
        limits=httpx2.Limits(max_connections=CONNECTIONS_MAX, keepalive_expiry=IDLE_CONNECTION_S),
        trust_env=not is_loopback(httpx2.URL(config.base_url).host),
    )


async def read_bounded(response: httpx2.Response, most: int, key: bytes) -> bytes:
    """At most `most` bytes of the body, without our key, which some providers repeat."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) >= most:
            break
    text = bytes(body[:most])
    return text.replace(key, b"[key]") if len(key) >= KEY_BYTES_MIN else text


async def read_error(response: httpx2.Response, key: bytes) -> bytes:
    """The body of an error, bounded in bytes and in time; empty where it does not come in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ERROR_S):
            return await read_bounded(response, ERROR_BYTES_MAX, key)
    return b""


class Connection:
    """Connections are kept and shared by all calls. headers: those of every request."""

    def __init__(self, config: ProviderConfig, headers: Mapping[str, str]) -> None:
        base = str(httpx2.URL(config.base_url)).rstrip("/")
        self.api = base if base.endswith(VERSION) else f"{base}{VERSION}"
        self._key = config.api_key.get_secret_value().encode()
        self.http = open_client(config, headers)

    async def close(self) -> None:
        """Close every connection."""
        await self.http.aclose()

    @contextlib.asynccontextmanager
    async def accepted(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[httpx2.Response]:
        """A response with status 200; any other one is raised as the error it means."""
        async with self.http.stream(
            method, f"{self.api}{path}", json=body, headers=headers
        ) as response:
            if response.status_code != 200:
                text = await read_error(response, self._key)
                raise refusal(response.status_code, response.headers, text)
            yield response

    async def read(self, response: httpx2.Response, most: int = ANSWER_BYTES_MAX) -> bytes:
        """At most `most` bytes of the body, without our key, which some providers repeat."""
        return await read_bounded(response, most, self._key)
