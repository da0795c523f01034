"""One generation from the request to the bill: read, reserve, route, write, settle."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from roost_inference.errors import EngineError
from roost_platform.gateway.answer import Answer
from roost_platform.gateway.compression.compression import Compression
from roost_platform.gateway.config import GatewayConfig
from roost_platform.gateway.errors import DeadKey, ModelNotAllowed, UnreadableAnswer
from roost_platform.gateway.events import Event
from roost_platform.gateway.exchange import Exchange
from roost_platform.gateway.families.direct_text import DirectText
from roost_platform.gateway.families.family import GenerationFamily
from roost_platform.gateway.guards.admission import Admission, Place
from roost_platform.gateway.guards.bodies import work_on
from roost_platform.gateway.keys.estimates import prompt_size
from roost_platform.gateway.keys.ports import GatewayKey, KeyStore, Outcome, Reservation, Spent
from roost_platform.gateway.keys.prices import Prices, unpriced
from roost_platform.gateway.leaving import ClientGone
from roost_platform.gateway.observing.facts import tell_end
from roost_platform.gateway.providers.wire_limits import ignored_fields
from roost_platform.gateway.request import Family, ModelRequest
from roost_platform.gateway.routing.catalogue import RoutedModel
from roost_platform.gateway.routing.router import CallTrace, Router
from roost_platform.gateway.routing.truncation import Stream, truncating
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
    compression: Compression | None = None
    admission: Admission = field(init=False)

    def __post_init__(self) -> None:
        self.admission = Admission(self.config.calls_max, self.config.max_body_bytes)

    async def generate(self, exchange: Exchange, family: GenerationFamily) -> None:
        """Serve one request of this family."""
        async with self.opened(exchange, family.name) as (key, body):
            request = await work_on(exchange.body_bytes, family.read, body, exchange.headers)
            await self.call(exchange, family, body, request, key)

    def opened(self, exchange: Exchange, family: Family | None = None) -> "Opened":
        """Let a request in: its key, which is found before a byte of its body is read, and its
        body. It has a place until the block ends.

        family: of a call that is counted. What refuses it before it has a row is counted as well,
        as far as its key is known.
        """
        return Opened(self, exchange, family)

    def place(self, key: GatewayKey) -> Place:
        """Hold one of the places for calls. Raises Overloaded, RateLimited."""
        return self.admission.place(key.id)

    async def call(
        self,
        exchange: Exchange,
        family: GenerationFamily,
        body: Mapping[str, Any],
        request: ModelRequest,
        key: GatewayKey,
    ) -> None:
        """Serve a request that has been read: reserve, route, write, settle."""
        exchange.is_counted = True
        try:
            model = await self._model(request, key)
        except EngineError as error:
            await self.keys.refuse(unpriced(exchange.call_id, request, key), error)
            raise
        request = request if request.model else replace(request, model=model.name)
        request = self.prices.bounded(request, model, key)
        held = self.compression.held(request, model, key) if self.compression else request
        await self.keys.reserve(self.prices.reservation(exchange.call_id, held, model, key))
        trace = CallTrace(prompt_bytes=request.prompt_bytes, size=prompt_size(request))
        outcome: Outcome = "failed"
        status, code = 500, "internal_error"
        try:
            with exchange.until_gone():
                await self._answer(exchange, family, body, request, model, key, trace)
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
            tell_end(request, spent, exchange.headers)
            # Mostly done here and now, where no cancel can come in between.
            if not self.keys.settle_at_once(spent):
                await asyncio.shield(self._settle(spent))

    async def _model(self, request: ModelRequest, key: GatewayKey) -> RoutedModel:
        """The model of this request. Raises ModelNotAllowed, UnknownModel."""
        if not key.may_use(self.router.catalogue.named(request.model)):
            raise ModelNotAllowed(f"This key may not use the model {request.model[:200]!r}")
        return await self.router.catalogue.resolve(request.model)

    def _events(
        self, request: ModelRequest, model: RoutedModel, key: GatewayKey, trace: CallTrace
    ) -> AsyncGenerator[Sequence[Event], None]:
        stream: Stream = self.router.stream
        compression = self.compression
        if compression is not None and compression.is_on(request, model, key):

            def compressed(
                request: ModelRequest, trace: CallTrace, hints: Mapping[str, Any]
            ) -> AsyncGenerator[Sequence[Event], None]:
                return compression.stream(request, model, key, trace, hints)

            stream = compressed
            request = replace(request, direct=None)  # each event may belong to a hidden call
        if request.truncates:
            stream = truncating(stream)
        return stream(request, trace, hints_for(request, key))

    async def _answer(
        self,
        exchange: Exchange,
        family: GenerationFamily,
        body: Mapping[str, Any],
        request: ModelRequest,
        model: RoutedModel,
        key: GatewayKey,
        trace: CallTrace,
    ) -> None:
        if not request.stream:
            answer = Answer()
            async with contextlib.aclosing(self._events(request, model, key, trace)) as batches:
                async for batch in batches:
                    answer.take(batch)
            whole = family.whole(request, body, exchange.call_id, answer)
            await exchange.answer(whole, headers=_ignored(request, trace))
            return
        writer = family.writer(request, body, exchange.call_id)
        request = replace(request, direct=DirectText(exchange, writer, trace.heard))
        async with contextlib.aclosing(self._events(request, model, key, trace)) as batches:
            try:
                async for batch in batches:
                    if part := writer.write(batch):
                        if exchange.has_begun:
                            await exchange.send_part(part)
                            continue
                        await exchange.begin_stream(_ignored(request, trace))
                        await exchange.send_part(part)
                        exchange.flush()  # before the next parts of other calls
            except EngineError as error:
                if not exchange.has_begun:
                    raise
                await exchange.end_stream(writer.fail(error))
                raise
            if not exchange.has_begun:
                raise UnreadableAnswer("The provider's answer has no content")
            await exchange.end_stream(writer.end())

    async def _settle(self, spent: Spent) -> None:
        try:
            await self.keys.settle(spent)
        except Exception as error:
            # The store keeps it; its sweep tries again.
            log.error("call %s was not settled: %r", spent.call_id, error)


class Opened:
    """`async with` this a request is in; see Serving.opened."""

    __slots__ = ("_body", "_exchange", "_family", "_key_id", "_place", "_serving")

    def __init__(self, serving: Serving, exchange: Exchange, family: Family | None) -> None:
        self._serving = serving
        self._exchange = exchange
        self._family = family
        self._key_id = ""
        self._body: dict[str, Any] = {}
        self._place: Place | None = None

    async def __aenter__(self) -> tuple[GatewayKey, dict[str, Any]]:
        serving, exchange = self._serving, self._exchange
        try:
            key = await serving.keys.find(exchange.secret)
            self._key_id = key.id
            place = serving.place(key)
            exchange.grow = place.__enter__()
            self._place = place
            self._body = await exchange.json(serving.config.max_body_bytes)
        except BaseException as error:
            await self._leave(error)
            raise
        return key, self._body

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        await self._leave(error)

    async def _leave(self, error: BaseException | None) -> None:
        if self._place is not None:
            self._place.__exit__()
        if not isinstance(error, EngineError) or self._family is None:
            return
        key_id = error.key_id if isinstance(error, DeadKey) else self._key_id
        if key_id and not self._exchange.is_counted:
            unread = _unread(self._exchange.call_id, key_id, self._family, self._body)
            await self._serving.keys.refuse(unread, error)


def _ignored(request: ModelRequest, trace: CallTrace) -> Mapping[str, str]:
    """The header that names fields which did nothing at the target that answers."""
    target = trace.target
    return {} if target is None else ignored_fields(request, target.provider.wire)


def _unread(call_id: str, key_id: str, family: Family, body: Mapping[str, Any]) -> Reservation:
    """A call that could not be read, as its row names it."""
    model = body.get("model")
    return Reservation(
        call_id=call_id,
        key_id=key_id,
        family=family,
        model=model if isinstance(model, str) else "",
        tokens=0,
        cost_microusd=0,
    )
