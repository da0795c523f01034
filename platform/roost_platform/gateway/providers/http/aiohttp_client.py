"""Asks one provider over aiohttp, which has TLS and proxies."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Final

import aiohttp

from roost_inference.errors import EngineUnavailable
from roost_platform.gateway.providers.http.losses import lost, reason_of
from roost_platform.gateway.providers.http.plain import CONNECTIONS_MAX, IDLE_S
from roost_platform.gateway.providers.http.plain_connection import PART_BYTES

HEAD_LINE_BYTES_MAX: Final = 64 * 1024


class AiohttpResponse:
    """An answer over aiohttp; see Response."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response

    @property
    def is_ended(self) -> bool:
        """Whether its body was read to the end."""
        return self._response.content.at_eof()

    def parts(self) -> AsyncIterator[bytes]:
        """More of its body; see Response."""
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        with translated():
            part = await self._response.content.readany()
        if not part:
            raise StopAsyncIteration
        return part

    def divert(self, take: Callable[[bytes], bool]) -> None:
        """Nothing is shown; see Response."""

    def close(self) -> None:
        """End it; see Response. aiohttp would wait for the other side where it is encrypted."""
        response = self._response
        if not response.content.at_eof():
            connection = response.connection
            if connection is not None and connection.transport is not None:
                connection.transport.abort()
            response.close()
        response.release()


class AiohttpClient:
    """A client of one host; see Client. headers: of every request. head_s: from the question to the
    head of the answer.
    """

    def __init__(
        self,
        headers: Mapping[str, str],
        *,
        tls: ssl.SSLContext | None,
        proxy: str | None,
        connect_s: float,
        silence_s: float,
        head_s: float,
    ) -> None:
        self._head_s = head_s
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=CONNECTIONS_MAX, keepalive_timeout=IDLE_S, ssl=tls or True
            ),
            headers=headers,
            timeout=aiohttp.ClientTimeout(
                total=None,
                connect=2 * connect_s,  # with the wait for one of the connections
                sock_connect=connect_s,
                sock_read=silence_s,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # none is asked for; a few bytes could become a thousand times
            proxy=proxy,
            max_line_size=HEAD_LINE_BYTES_MAX,
            max_field_size=HEAD_LINE_BYTES_MAX,
        )

    async def ask(
        self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]
    ) -> AiohttpResponse:
        """The answer with whatever status; see Client."""
        body: bytes | AsyncIterator[bytes] | None = content
        if content is not None and len(content) > PART_BYTES:
            headers = {**headers, "content-length": str(len(content))}
            body = _parts(content)
        with translated():
            async with asyncio.timeout(self._head_s):
                return AiohttpResponse(
                    await self._session.request(
                        method, url, data=body, headers=headers, allow_redirects=False
                    )
                )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()
        # aiohttp has only asked the transports to close: the loop does it in its next pass.
        await asyncio.sleep(0)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn aiohttp's errors into EngineUnavailable; a silence stays TimeoutError."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise EngineUnavailable("The provider does not answer") from error
    except TimeoutError:
        raise
    except aiohttp.ClientConnectorError as error:
        raise EngineUnavailable(f"The provider can't be reached: {reason_of(error)}") from error
    except (aiohttp.ClientError, aiohttp.http.HttpProcessingError) as error:
        raise lost(error) from error


async def _parts(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), PART_BYTES):
        yield content[start : start + PART_BYTES]
