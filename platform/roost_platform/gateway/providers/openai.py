"""A provider with OpenAI's API: OpenAI, vLLM, Ollama, llama-server, the bundled core and others."""

import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from roost_inference.client import events as streamed
from roost_inference.client.event_parser import EventParser
from roost_inference.client.refusals import json_of, refusal
from roost_inference.errors import EngineUnavailable, InvalidRequest, UnknownModel
from roost_platform.gateway.config import ProviderConfig
from roost_platform.gateway.errors import UnreadableAnswer
from roost_platform.gateway.events import Event
from roost_platform.gateway.providers.chat_body import chat_body, habits_of
from roost_platform.gateway.providers.chat_decoder import ChatDecoder
from roost_platform.gateway.providers.connection import Connection, read_out
from roost_platform.gateway.providers.decoding import decoded
from roost_platform.gateway.providers.encoding import encoded
from roost_platform.gateway.providers.failures import (
    OPTIONAL_FIELDS,
    SILENCE_IS_AN_ERROR,
    RefusedFields,
)
from roost_platform.gateway.providers.http.response import Response
from roost_platform.gateway.providers.llama_server import TemplateProbe
from roost_platform.gateway.providers.plain_text import ChunkReader, DirectChunks
from roost_platform.gateway.request import ModelRequest, Wire

PROPERTIES_BYTES_MAX = 2**20


class OpenAIProvider:
    """One provider; see Provider. Connections are kept and shared by all calls."""

    wire: Wire = "openai"

    def __init__(self, name: str, config: ProviderConfig) -> None:
        self.name = name
        self._refused = RefusedFields()
        self._served = ""  # the model that it serves, where it was asked for
        base, url = config.base_url.rstrip("/"), urlsplit(config.base_url)
        host = url.hostname or ""
        self._habits = habits_of(name, host, keep_reasoning=config.keep_reasoning)
        headers = {"content-type": "application/json"}
        if key := config.api_key.get_secret_value():
            headers["authorization"] = f"Bearer {key}"
        api = base if url.path.strip("/") else f"{base}/v1"
        self._connection = Connection(config, api, headers)
        self._template = TemplateProbe(self._properties)

    async def close(self) -> None:
        """Close every connection."""
        await self._connection.close()

    async def stream(
        self, request: ModelRequest, model: str, hints: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[Event], None]:
        """The answer as batches of events; see Provider."""
        body = chat_body(request, model or await self._served_model(), hints, self._habits)
        # In a header it does no harm to a provider that does not know it.
        session_id = body.pop("session_id", None)
        headers = {"x-session-id": str(session_id)} if session_id else {}
        decoder = ChatDecoder()
        try:
            with SILENCE_IS_AN_ERROR:
                response = await self._ask("/chat/completions", body, headers, request.prompt_bytes)
                reader, parser = ChunkReader(), EventParser()
                if request.direct is not None:
                    direct = DirectChunks(reader, parser, decoder.passes, request.direct)
                    response.divert(direct.take)
                read = streamed.event_batches(response.parts(), reader.read, parser)
                with contextlib.closing(response):
                    async with contextlib.aclosing(read) as batches:
                        async for batch in batches:
                            if not decoder.has_started:
                                first = _start(batch)
                                decoder.opening = await self._template.opening(first, body)
                            events, error = decoded(batch, decoder.feed)
                            if events:
                                yield events
                            if error is not None:
                                raise error
                            if batch[-1].is_end:
                                decoder.end_mark()
                                await read_out(response)
                                break
        except UnknownModel as unknown:
            if model:
                raise
            self._served = ""  # it serves another one than when we looked
            raise EngineUnavailable(
                f"The engine's model has changed: {unknown.message}"
            ) from unknown
        if events := decoder.end():
            yield events

    async def embed(self, body: Mapping[str, Any], model: str) -> Mapping[str, Any]:
        """The answer to an embeddings request; see Provider."""
        named = {**body, "model": model or await self._served_model()}
        try:
            with SILENCE_IS_AN_ERROR:
                response = await self._ask("/embeddings", named)
                with contextlib.closing(response):
                    value = json_of(await self._connection.read(response))
        except UnknownModel as error:
            # It may know the model and have no such address: its chats are as good as before.
            refused = InvalidRequest(
                f"{self.name} gives no embeddings of {model!r}: {error.message}", param="model"
            )
            refused.code = "embeddings_not_supported"
            raise refused from None
        if not isinstance(value, dict) or not isinstance(value.get("data"), list):
            raise UnreadableAnswer("The provider's embeddings are not in OpenAI's form")
        return value

    async def models(self) -> Sequence[Mapping[str, Any]]:
        """The models it serves; see Provider."""
        with SILENCE_IS_AN_ERROR:
            response = await self._connection.ask("GET", "/models")
            with contextlib.closing(response):
                body = await self._connection.read(response)
        if response.status != 200:
            raise refusal(response.status, response.headers, body)
        value = json_of(body)
        entries = value.get("data") if isinstance(value, dict) else None
        if not isinstance(entries, list):
            raise UnreadableAnswer("The provider's list of models is not in OpenAI's form")
        return [entry for entry in entries if isinstance(entry, dict) and "id" in entry]

    async def _served_model(self) -> str:
        """The first model that the provider serves."""
        if not self._served:
            entries = await self.models()
            if not entries:
                raise EngineUnavailable("The engine serves no model")
            self._served = str(entries[0]["id"])
        return self._served

    async def _properties(self) -> Any:
        """What llama-server tells of itself; None from any other engine."""
        address = f"{self._connection.api.removesuffix('/v1')}/props"
        with SILENCE_IS_AN_ERROR:
            response = await self._connection.ask("GET", address)
            with contextlib.closing(response):
                body = await self._connection.read(response, PROPERTIES_BYTES_MAX)
        return json_of(body) if response.status == 200 else None

    async def _ask(
        self,
        path: str,
        body: dict[str, Any],
        headers: Mapping[str, str] | None = None,
        text_bytes: int = 0,
    ) -> Response:
        """A response with status 200; any other one is raised as the error it means. A request is
        repeated without the optional fields that the provider refuses.
        """
        for _ in range(1 + len(OPTIONAL_FIELDS)):
            body = self._refused.without(body)
            content = await encoded(body, text_bytes)
            response = await self._connection.ask("POST", path, content=content, headers=headers)
            if response.status == 200:
                if body.get("stream"):
                    self._refused.accepted()
                return response
            with contextlib.closing(response):
                text = await self._connection.read_error(response)
            if not self._refused.learn(response.status, text, body):
                break
        raise refusal(response.status, response.headers, text)


def _start(batch: Sequence[streamed.Event]) -> Any:
    """The chunk with which an answer begins, if it is in this batch."""
    for one in batch:
        if isinstance(one.value, dict) and isinstance(one.value.get("choices"), list):
            return one.value
    return None
