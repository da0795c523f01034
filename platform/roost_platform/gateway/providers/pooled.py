"""Several engines of this installation as one provider: a router says which one answers."""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from roost_inference.client.routing.pool import open_router
from roost_inference.client.routing.route import Route, RoutedCall
from roost_platform.gateway.config import ProviderConfig
from roost_platform.gateway.events import Event, Started, Usage
from roost_platform.gateway.providers.chat_body import chat_body, habits_of
from roost_platform.gateway.providers.engine import EngineProvider
from roost_platform.gateway.request import ModelRequest, Wire

T = TypeVar("T")


class PooledProvider:
    """The engines that answer, and those that read prompts for them; see Provider. Where a model
    refuses pictures, each engine tells captions instead, as it does alone.
    """

    wire: Wire = "openai"

    def __init__(
        self,
        name: str,
        config: ProviderConfig,
        urls: Sequence[str],
        prefill: Sequence[str],
        on_step: Callable[[str, str], None],
    ) -> None:
        self.name = name
        key = config.api_key.get_secret_value()
        self.router = open_router(urls, prefill, api_key=key, on_step=on_step)
        self._habits = habits_of(name, "", keep_reasoning=config.keep_reasoning)
        self._members = {
            engine.name: EngineProvider(name, config.model_copy(update={"base_url": engine.url}))
            for engine in self.router.decode
        }

    async def close(self) -> None:
        """Close every connection; offers that nobody has taken are given back first."""
        await self.router.close()
        for member in self._members.values():
            await member.close()

    async def stream(
        self, request: ModelRequest, model: str, hints: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[Event], None]:
        """The answer as batches of events; see Provider."""
        body = chat_body(request, "", hints, self._habits)
        session = body.pop("session_id", None)
        call = RoutedCall(body, str(session) if session else None)

        def ask(route: Route) -> AsyncGenerator[Sequence[Event], None]:
            return self._ask(route, request, model, hints)

        async with contextlib.aclosing(self.router.stream(call, ask, _has_content)) as batches:
            async for batch in batches:
                yield batch

    async def embed(self, body: Mapping[str, Any], model: str) -> Mapping[str, Any]:
        """The vectors of the first engine that is up; see Provider."""
        return await self._first(lambda member: member.embed(body, model))

    async def models(self) -> Sequence[Mapping[str, Any]]:
        """The models of the first engine that is up; see Provider."""
        return await self._first(lambda member: member.models())

    async def count_tokens(self, request: ModelRequest, model: str) -> int | None:
        """Tokens of the prompt, as the first engine that is up counts them."""
        return await self._first(lambda member: member.count_tokens(request, model))

    async def _ask(
        self, route: Route, request: ModelRequest, model: str, hints: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[Event], None]:
        if route.params:
            hints = {**hints, "kv_transfer_params": route.params}
        stream = self._members[route.engine.name].stream(request, model, hints)
        async with contextlib.aclosing(stream) as batches:
            async for batch in batches:
                for event in batch:
                    if isinstance(event, Usage):
                        route.used(event.input_tokens, event.output_tokens)
                yield batch

    async def _first(self, ask: Callable[[EngineProvider], Awaitable[T]]) -> T:
        """See EngineRouter.ask_first."""
        return await self.router.ask_first(lambda engine: ask(self._members[engine.name]))


def _has_content(batch: Sequence[Event]) -> bool:
    return any(not isinstance(event, Started) for event in batch)
