"""One generation from the request to the bill: read, reserve, route, write, settle."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from roost_inference.errors import EngineError, EngineFailed
from roost_platform.gateway.answer import Answer
from roost_platform.gateway.config import GatewayConfig
from roost_platform.gateway.errors import ModelNotAllowed, Overloaded
from roost_platform.gateway.exchange import ClientGone, Exchange
from roost_platform.gateway.families.family import GenerationFamily
from roost_platform.gateway.keys.ports import GatewayKey, KeyStore, Outcome, Spent
from roost_platform.gateway.keys.prices import Prices
from roost_platform.gateway.request import ModelRequest
from roost_platform.gateway.routing.router import CallTrace, Router
from roost_platform.gateway.routing.truncation import truncating
from roost_platform.gateway.sessions import hints_for

log = logging.getLogger(__name__)

CLIENT_GONE = 499  # nginx's status for a client that has left


@dataclass(slots=True)
class Serving:
    """What every generation needs."""

    config: GatewayConfig
    router: Router
    keys: KeyStore
    prices: Prices
    in_flight: int = 0

    async def generate(self, exchange: Exchange, family: GenerationFamily) -> None:
        """Serve one request of this family."""
        async with self.opened(exchange) as (key, body):
            request = family.read(body, exchange.headers)
            await self.call(exchange, family, body, request, key)

    @contextlib.asynccontextmanager
    async def opened(self, exchange: Exchange) -> AsyncIterator[tuple[GatewayKey, dict[str, Any]]]:
        """Let a request in: its key, which is found before a byte of its body is read, and its
        body. It has a place until the block ends.
        """
        key = await self.keys.find(exchange.secret)
        with self.place(key):
            yield key, await exchange.json(self.config.max_body_bytes)

    @contextlib.contextmanager
    def place(self, key: GatewayKey) -> Iterator[None]:
        """Hold one of the places for calls. Raises Overloaded."""
        if self.in_flight >= self.config.calls_max:
            raise Overloaded(f"{self.config.calls_max} calls run already")
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    async def call(
        self,
        exchange: Exchange,
        family: GenerationFamily,
        body: Mapping[str, Any],
        request: ModelRequest,
        key: GatewayKey,
    ) -> None:
        """Serve a request that has been read: reserve, route, write, settle."""
        if not key.may_use(request.model):
            raise ModelNotAllowed(f"This key may not use the model {request.model!r}")
        model = self.router.catalogue.find(request.model)
        request = self.prices.bounded(request, model, key)
        await self.keys.reserve(self.prices.reservation(exchange.call_id, request, model, key))
        trace = CallTrace(prompt_bytes=request.prompt_bytes)
        outcome: Outcome = "failed"
        status, code = 500, "internal_error"
        try:
            async with exchange.until_gone():
                await self._answer(exchange, family, body, request, key, trace)
            outcome, status, code = "ok", 200, ""
        except ClientGone:
            outcome, status, code = "cancelled", CLIENT_GONE, "client_gone"
        except EngineError as error:
            status, code = error.http_status, error.code
            raise
        except asyncio.CancelledError:
            outcome, status, code = "cancelled", CLIENT_GONE, "stopped"
            raise
        finally:
            spent = self.prices.spent(exchange.call_id, trace, outcome, status, code)
            await asyncio.shield(self._settle(spent))

    async def _answer(
        self,
        exchange: Exchange,
        family: GenerationFamily,
        body: Mapping[str, Any],
        request: ModelRequest,
        key: GatewayKey,
        trace: CallTrace,
    ) -> None:
        route = self.router.stream
        stream = truncating(route) if request.truncates else route
        events = stream(request, trace, hints_for(request, key))
        async with contextlib.aclosing(events) as batches:
            if not request.stream:
                answer = Answer()
                async for batch in batches:
                    answer.take(batch)
                whole = family.whole(request, body, exchange.call_id, answer)
                await exchange.answer(whole)
                return
            writer = family.writer(request, body, exchange.call_id)
            try:
                async for batch in batches:
                    if part := writer.write(batch):
                        if not exchange.has_begun:
                            await exchange.begin_stream()
                        await exchange.send_part(part)
            except EngineError as error:
                if not exchange.has_begun:
                    raise
                await exchange.end_stream(writer.fail(error))
                raise
            if not exchange.has_begun:
                raise EngineFailed("The provider's answer has no content")
            await exchange.end_stream(writer.end())

    async def _settle(self, spent: Spent) -> None:
        try:
            await self.keys.settle(spent)
        except Exception as error:
            # The row stays open; the sweep of lost calls settles it.
            log.error("call %s was not settled: %r", spent.call_id, error)
