"""Counts the tokens of a prompt, by its target where that can, else by its size."""

import asyncio
import logging
from functools import partial
from typing import Final, Protocol, runtime_checkable

from roost_inference.errors import EngineError
from roost_platform.gateway.errors import ModelNotAllowed
from roost_platform.gateway.exchange import Exchange
from roost_platform.gateway.families.fields import TOKENS_MAX
from roost_platform.gateway.families.messages.reading import read_messages
from roost_platform.gateway.guards.bodies import work_on
from roost_platform.gateway.keys.prices import estimated_tokens
from roost_platform.gateway.request import ModelRequest
from roost_platform.gateway.routing.catalogue import RoutedModel
from roost_platform.gateway.serving import Serving

log = logging.getLogger(__name__)

COUNT_S_MAX: Final = 5.0  # a client waits for the count before it asks its question


@runtime_checkable
class Counts(Protocol):
    """A provider that counts."""

    async def count_tokens(self, request: ModelRequest, model: str) -> int | None:
        """Tokens of the prompt; None where it can't tell."""
        ...


class TokenCounting:
    """Serves Anthropic's count_tokens. It costs nothing and is never refused for want of a target
    that counts.
    """

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def answer(self, exchange: Exchange) -> None:
        """Serve one request."""
        serving = self._serving
        async with serving.opened(exchange) as (key, body):
            read = partial(read_messages, is_count=True)
            request = await work_on(exchange.body_bytes, read, body, exchange.headers)
            catalogue = serving.router.catalogue
            if not key.may_use(catalogue.named(request.model)):
                raise ModelNotAllowed(f"This key may not use the model {request.model[:200]!r}")
            model = await catalogue.resolve(request.model)
            with exchange.until_gone():
                tokens = await counted(request, model)
            await exchange.answer({"input_tokens": tokens})


async def counted(request: ModelRequest, model: RoutedModel) -> int:
    """Tokens of this prompt, by the first target that counts them."""
    for target in sorted(model.targets, key=lambda one: one.order):
        if not isinstance(target.provider, Counts):
            continue
        try:
            async with asyncio.timeout(COUNT_S_MAX):
                tokens = await target.provider.count_tokens(request, target.model)
        except (EngineError, TimeoutError) as error:
            log.info("%s did not count a prompt: %s", target.name, str(error)[:200])
            continue
        if type(tokens) is int and 0 <= tokens <= TOKENS_MAX:
            return tokens
    return max(estimated_tokens(request.prompt_bytes), 1)
