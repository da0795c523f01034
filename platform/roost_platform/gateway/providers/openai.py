"""A provider with OpenAI's API: OpenAI, vLLM, Ollama, llama-server, the bundled core and others."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any

import httpx2

from roost_inference.client.engine_client import is_loopback, network_errors
from roost_inference.client.events import events_of
from roost_inference.client.refusals import json_of, refusal
from roost_inference.errors import EngineFailed
from roost_platform.gateway.config import ProviderConfig
from roost_platform.gateway.events import Event
from roost_platform.gateway.providers.chat_decoder import ChatDecoder
from roost_platform.gateway.providers.encoding import encoded
from roost_platform.gateway.request import ModelRequest, Wire

ERROR_BYTES_MAX = 64 * 1024
ERROR_S = 10.0  # of an error's body that comes drop by drop
ANSWER_BYTES_MAX = 64 * 2**20  # of embeddings
IDLE_CONNECTION_S = 2.0  # below the 5 s after which servers close idle connections
CONNECTIONS_MAX = 512
KEY_BYTES_MIN = 8  # a shorter key may be any word of an answer


class OpenAIProvider:
    """One provider; see Provider. Connections are kept and shared by all calls."""

    wire: Wire = "openai"

    def __init__(self, name: str, config: ProviderConfig) -> None:
        self.name = name
        self._config = config
        url = httpx2.URL(config.base_url)
        self._api = str(url if url.path.strip("/") else url.copy_with(path="/v1")).rstrip("/")
        self._key = config.api_key.get_secret_value().encode()
        headers = {"accept-encoding": "identity", "content-type": "application/json"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key.decode()}"
        self._http = httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(
                config.read_timeout_s,
                connect=config.connect_timeout_s,
                write=config.connect_timeout_s * 6,
                pool=config.connect_timeout_s,
            ),
            limits=httpx2.Limits(
                max_connections=CONNECTIONS_MAX, keepalive_expiry=IDLE_CONNECTION_S
            ),
            trust_env=not is_loopback(url.host),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def stream(
        self, request: ModelRequest, model: str, hints: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[Event], None]:
        """The answer as batches of events; see Provider."""
        body = {
            **request.body,
            **hints,
            "model": model,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request.n > 1:
            body["n"] = request.n
        decoder = ChatDecoder()
        with network_errors():
            async with (
                self._accepted("/chat/completions", body, request.prompt_bytes) as response,
                contextlib.aclosing(events_of(response)) as chunks,
            ):
                async for chunk in chunks:
                    if chunk.is_end:
                        decoder.end_mark()
                        break
                    events = decoder.feed(chunk.value, is_event_error=chunk.is_error)
                    if events:
                        yield events
        if events := decoder.end():
            yield events

    async def embed(self, body: Mapping[str, Any], model: str) -> Mapping[str, Any]:
        """The answer to an embeddings request; see Provider."""
        with network_errors():
            async with self._accepted("/embeddings", {**body, "model": model}) as response:
                value = json_of(await self._read(response, ANSWER_BYTES_MAX))
        if not isinstance(value, dict) or not isinstance(value.get("data"), list):
            raise EngineFailed("The provider's embeddings are not in OpenAI's form")
        return value

    async def models(self) -> Sequence[Mapping[str, Any]]:
        """The models it serves; see Provider."""
        with network_errors():
            async with self._http.stream("GET", f"{self._api}/models") as response:
                body = await self._read(response, ANSWER_BYTES_MAX)
        if response.status_code != 200:
            raise refusal(response.status_code, response.headers, body)
        value = json_of(body)
        entries = value.get("data") if isinstance(value, dict) else None
        if not isinstance(entries, list):
            raise EngineFailed("The provider's list of models is not in OpenAI's form")
        return [entry for entry in entries if isinstance(entry, dict) and "id" in entry]

    @contextlib.asynccontextmanager
    async def _accepted(
        self, path: str, body: Mapping[str, Any], text_bytes: int = 0
    ) -> AsyncIterator[httpx2.Response]:
        """A response with status 200; any other one is raised as the error it means."""
        content = await encoded(body, text_bytes)
        async with self._http.stream("POST", f"{self._api}{path}", content=content) as response:
            if response.status_code != 200:
                text = b""
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(ERROR_S):
                        text = await self._read(response, ERROR_BYTES_MAX)
                raise refusal(response.status_code, response.headers, text)
            yield response

    async def _read(self, response: httpx2.Response, most: int) -> bytes:
        """At most `most` bytes of the body, without our key, which some providers repeat."""
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) >= most:
                break
        text = bytes(body[:most])
        return text.replace(self._key, b"[key]") if len(self._key) >= KEY_BYTES_MIN else text
