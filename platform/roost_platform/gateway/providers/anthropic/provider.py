"""A provider with Anthropic's API: Anthropic itself, and others that speak its Messages API."""

import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from roost_inference.client.events import event_batches
from roost_inference.client.refusals import json_of
from roost_inference.errors import InvalidRequest
from roost_platform.gateway.config import ProviderConfig
from roost_platform.gateway.errors import UnreadableAnswer
from roost_platform.gateway.events import Event
from roost_platform.gateway.providers.anthropic.body import anthropic_body, native_body
from roost_platform.gateway.providers.anthropic.decoder import MessagesDecoder
from roost_platform.gateway.providers.connection import Connection, read_out
from roost_platform.gateway.providers.decoding import decoded
from roost_platform.gateway.providers.encoding import encoded
from roost_platform.gateway.providers.failures import SILENCE_IS_AN_ERROR
from roost_platform.gateway.request import ModelRequest, Wire

API_VERSION: Final = "2023-06-01"
VERSION: Final = "/v1"
MODELS_PER_PAGE: Final = 1000
# What count_tokens reads; it refuses the other fields of a request.
COUNTED: Final = frozenset(
    {
        "cache_control",
        "context_management",
        "mcp_servers",
        "messages",
        "model",
        "output_config",
        "output_format",
        "speed",
        "system",
        "thinking",
        "tool_choice",
        "tools",
    }
)


class AnthropicProvider:
    """One provider; see Provider. A client of Anthropic's API reaches it with its own body, so
    that nothing of it is lost; all others are translated.
    """

    wire: Wire = "anthropic"

    def __init__(self, name: str, config: ProviderConfig) -> None:
        self.name = name
        headers = {"anthropic-version": API_VERSION, "content-type": "application/json"}
        if key := config.api_key.get_secret_value():
            headers["x-api-key"] = key
        base = config.base_url.rstrip("/")
        api = base if base.endswith(VERSION) else f"{base}{VERSION}"
        self._connection = Connection(config, api, headers)

    async def close(self) -> None:
        """Close every connection."""
        await self._connection.close()

    async def stream(
        self, request: ModelRequest, model: str, hints: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[Event], None]:
        """The answer as batches of events; see Provider."""
        body, headers = _wire_request(request, model)
        decoder = MessagesDecoder()
        content = await encoded({**body, "stream": True}, request.prompt_bytes)
        with SILENCE_IS_AN_ERROR:
            response = await self._connection.ask_for(
                "POST", "/messages", content=content, headers=headers
            )
            with contextlib.closing(response):
                async with contextlib.aclosing(event_batches(response.parts())) as batches:
                    async for batch in batches:
                        events, error = decoded(batch, decoder.feed, lambda: decoder.has_ended)
                        if events:
                            yield events
                        if error is not None:
                            raise error
                        if decoder.has_ended or batch[-1].is_end:
                            await read_out(response)
                            break
        if events := decoder.end():
            yield events

    async def count_tokens(self, request: ModelRequest, model: str) -> int | None:
        """Tokens of the prompt, as the provider counts them; None where it does not tell."""
        body, headers = _wire_request(request, model)
        counted = {name: value for name, value in body.items() if name in COUNTED}
        value = await self._json(
            "POST",
            "/messages/count_tokens",
            body=counted,
            headers=headers,
            text_bytes=request.prompt_bytes,
        )
        tokens = value.get("input_tokens")
        return tokens if isinstance(tokens, int) else None

    async def embed(self, body: Mapping[str, Any], model: str) -> Mapping[str, Any]:
        """Raises InvalidRequest: Anthropic's API has no embeddings."""
        raise InvalidRequest(
            f"The provider {self.name!r} speaks Anthropic's API, which has no embeddings",
            param="model",
        )

    async def models(self) -> Sequence[Mapping[str, Any]]:
        """The models it serves; see Provider."""
        value = await self._json("GET", f"/models?limit={MODELS_PER_PAGE}")
        entries = value.get("data")
        if not isinstance(entries, list):
            raise UnreadableAnswer("The provider's list of models is not in Anthropic's form")
        return [_model(entry) for entry in entries if isinstance(entry, dict) and entry.get("id")]

    async def _json(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        text_bytes: int = 0,
    ) -> Mapping[str, Any]:
        content = None if body is None else await encoded(body, text_bytes)
        with SILENCE_IS_AN_ERROR:
            response = await self._connection.ask_for(
                method, path, content=content, headers=headers
            )
            with contextlib.closing(response):
                value = json_of(await self._connection.read(response))
        if not isinstance(value, dict):
            raise UnreadableAnswer("The provider's answer is not in Anthropic's form")
        return value


def _wire_request(request: ModelRequest, model: str) -> tuple[dict[str, Any], Mapping[str, str]]:
    """The body and the headers for this request."""
    native = request.native
    if native is not None and native.wire == "anthropic":
        return native_body(native.body, model), native.headers
    return anthropic_body(request, model), {}


def _model(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A model as an entry of OpenAI's list."""
    created = 0
    with contextlib.suppress(ValueError):
        created = int(datetime.fromisoformat(str(entry.get("created_at"))).timestamp())
    model: dict[str, Any] = {
        "id": str(entry["id"]),
        "object": "model",
        "created": max(created, 0),
        "owned_by": "anthropic",
    }
    for theirs, ours in (
        ("display_name", "display_name"),
        ("max_input_tokens", "max_model_len"),
        ("max_tokens", "max_output_tokens"),
    ):
        if entry.get(theirs):
            model[ours] = entry[theirs]
    return model
