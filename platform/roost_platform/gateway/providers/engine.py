"""A provider with OpenAI's API whose models may read text alone, and which may count tokens."""

import contextlib
import re
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from roost_inference.client.refusals import json_of, refusal
from roost_inference.errors import EngineError, InvalidRequest, PromptTooLong, UnknownModel
from roost_platform.gateway.config import ProviderConfig
from roost_platform.gateway.events import Event
from roost_platform.gateway.providers.captions import has_pictures, with_captions
from roost_platform.gateway.providers.encoding import encoded
from roost_platform.gateway.providers.failures import SILENCE_IS_AN_ERROR
from roost_platform.gateway.providers.openai import OpenAIProvider
from roost_platform.gateway.request import ModelRequest

BLIND_MODELS_MAX: Final = 1000
COUNT_BYTES_MAX: Final = 64 * 2**20
ASK_AGAIN_S: Final = 60.0  # whether a provider without a tokenizer has one now
# How engines say that a model reads text alone.
TEXT_ONLY: Final = re.compile(
    "|".join(
        (
            r"reads text only",  # the bundled core
            r"at most 0 (image|file|document)|not a multimodal model",  # vLLM
            # llama-server and others
            r"(image|file|vision|multimodal|document)s?\b.{0,40}\b(not|n't) support",
            r"(not|n't) support\w*.{0,40}\b(image|file|vision|multimodal|document|image_url)",
            r"missing data required for image input",  # Ollama
            r"image_url is only supported|only supported by certain models",  # OpenAI
            r"(unknown variant|invalid content type|unexpected type|content type).{0,20}"
            r"['\"`]?(image_url|file)\b",  # DeepSeek and others
            r"content must be a string",  # Groq
            r"no endpoints found that support (image|file) input",  # OpenRouter
        )
    ),
    re.IGNORECASE,
)


class EngineProvider(OpenAIProvider):
    """One engine; see Provider. Where a model refuses pictures or files, they become captions."""

    def __init__(self, name: str, config: ProviderConfig) -> None:
        super().__init__(name, config)
        self._blind: set[str] = set()
        self._root = config.base_url.rstrip("/").removesuffix("/v1")
        self._asks_again_at = 0.0

    def stream(
        self, request: ModelRequest, model: str, hints: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[Event], None]:
        """The answer as batches of events; see Provider."""
        if not has_pictures(request.messages):
            return super().stream(request, model, hints)
        return self._seeing(request, model, hints)

    async def _seeing(
        self, request: ModelRequest, model: str, hints: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[Event], None]:
        """The answer of a model that is shown pictures, and told of them where it refuses them."""
        if model not in self._blind:
            has_begun = False
            try:
                async with contextlib.aclosing(super().stream(request, model, hints)) as batches:
                    async for batch in batches:
                        has_begun = True
                        yield batch
                return
            except InvalidRequest as error:
                is_blind = TEXT_ONLY.search(error.message) and not isinstance(error, PromptTooLong)
                if has_begun or not is_blind:
                    raise
        told = replace(request, body={**request.body, "messages": with_captions(request.messages)})
        async with contextlib.aclosing(super().stream(told, model, hints)) as batches:
            async for batch in batches:
                # Only now: a refusal may quote what people write.
                if len(self._blind) < BLIND_MODELS_MAX:
                    self._blind.add(model)
                yield batch

    async def count_tokens(self, request: ModelRequest, model: str) -> int | None:
        """Tokens of the prompt, in the form of vLLM's tokenizer; None where the engine has none."""
        if time.monotonic() < self._asks_again_at:
            return None
        body: dict[str, Any] = {
            "model": model,
            "messages": with_captions(request.messages),
            "add_generation_prompt": True,
        }
        if request.body.get("tools"):
            body["tools"] = request.body["tools"]
        try:
            with SILENCE_IS_AN_ERROR:
                content = await encoded(body, request.prompt_bytes)
                response = await self._connection.ask(
                    "POST", f"{self._root}/tokenize", content=content
                )
                with contextlib.closing(response):
                    text = await self._connection.read(response, COUNT_BYTES_MAX)
            if response.status != 200:
                raise refusal(response.status, response.headers, text)
        except PromptTooLong as error:
            return error.prompt_tokens
        except EngineError as error:
            # A prompt that can't be counted says nothing of the next one; no such address does.
            if not isinstance(error, InvalidRequest) or isinstance(error, UnknownModel):
                self._asks_again_at = time.monotonic() + ASK_AGAIN_S
        else:
            value = json_of(text)
            count = value.get("count") if isinstance(value, dict) else None
            if isinstance(count, int) and not isinstance(count, bool) and count > 0:
                return count
        return None
