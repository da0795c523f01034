"""The addresses under /v1/responses."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from roost_inference.errors import EngineError, InvalidRequest
from roost_platform.gateway.errors import NotFoundHere
from roost_platform.gateway.exchange import Exchange
from roost_platform.gateway.families.chat.writing import error_object
from roost_platform.gateway.families.responses.compact_call import CompactCall
from roost_platform.gateway.families.responses.family import ResponseCall
from roost_platform.gateway.families.responses.ids import is_response_id, response_id
from roost_platform.gateway.families.responses.items import input_items
from roost_platform.gateway.families.responses.reading import read_response
from roost_platform.gateway.families.responses.resource import failure
from roost_platform.gateway.families.responses.store import ResponseStore, StoredResponse
from roost_platform.gateway.guards.bodies import work_on
from roost_platform.gateway.keys.ports import GatewayKey
from roost_platform.gateway.keys.prices import estimated_tokens
from roost_platform.gateway.responses.background import BackgroundRuns
from roost_platform.gateway.responses.history import History
from roost_platform.gateway.serving import Serving

log = logging.getLogger(__name__)

PAGE: Final = 20  # items of an input, by default and at most
PAGE_MAX: Final = 100


class Responses:
    """Serves responses; every one of them is seen only by the key that made it."""

    def __init__(self, serving: Serving, store: ResponseStore) -> None:
        self._serving = serving
        self._store = store
        self._history = History(store)
        self._runs = BackgroundRuns(store)

    async def close(self) -> None:
        """End what runs in the background."""
        await self._runs.close()

    def error(self, error: EngineError, request_id: str) -> Mapping[str, Any]:
        """An error as the body of an answer."""
        return error_object(error)

    async def create(self, exchange: Exchange) -> None:
        """POST /v1/responses."""
        async with self._serving.opened(exchange, "responses") as (key, body):
            call = await self._call(exchange, body, key)
            request = await work_on(exchange.body_bytes, call.read, body, exchange.headers)
            if call.asked.background:

                async def serve(detached: Exchange) -> None:
                    with self._serving.place(key):
                        await self._serving.call(detached, call, body, request, key)

                await self._runs.start(exchange, call, serve)
                return
            exchange.before_end = call.keep
            try:
                await self._serving.call(exchange, call, body, request, key)
            finally:
                await asyncio.shield(self._leave(call))

    async def count(self, exchange: Exchange) -> None:
        """POST /v1/responses/input_tokens: an estimate, as providers count each in their way."""
        async with self._serving.opened(exchange) as (key, body):
            call = await self._call(
                exchange, {**body, "model": body.get("model") or "any", "store": False}, key
            )
            request = await work_on(exchange.body_bytes, call.read, body, exchange.headers)
            tokens = estimated_tokens(request.prompt_bytes)
            await exchange.answer({"object": "response.input_tokens", "input_tokens": tokens})

    async def compact(self, exchange: Exchange) -> None:
        """POST /v1/responses/compact."""
        async with self._serving.opened(exchange, "responses") as (key, body):
            call = await self._call(exchange, {**body, "store": False, "background": False}, key)
            family = CompactCall(call)
            request = await work_on(exchange.body_bytes, family.read, body, exchange.headers)
            await self._serving.call(exchange, family, body, request, key)

    async def retrieve(self, exchange: Exchange) -> None:
        """GET /v1/responses/{id}."""
        if exchange.query.get("stream", "").lower() in ("true", "1"):
            raise InvalidRequest(
                "A stored response can't be streamed; ask for it without `stream`", param="stream"
            )
        found = await self._find(exchange, await self._key(exchange))
        await exchange.answer(found.resource)

    async def items(self, exchange: Exchange) -> None:
        """GET /v1/responses/{id}/input_items."""
        found = await self._find(exchange, await self._key(exchange))
        query = exchange.query
        order = query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise InvalidRequest("order has to be asc or desc", param="order")
        given = query.get("limit", str(PAGE))
        if not (given.isascii() and given.isdigit() and 1 <= int(given[:9]) <= PAGE_MAX):
            raise InvalidRequest(f"limit has to be from 1 to {PAGE_MAX}", param="limit")
        items = [_shown(item) for item in found.input_items]
        if order == "desc":
            items.reverse()
        if after := query.get("after"):
            ids = [item["id"] for item in items]
            if after not in ids:
                raise InvalidRequest("after has to be the id of an item", param="after")
            items = items[ids.index(after) + 1 :]
        await exchange.answer(_page(items, int(given)))

    async def delete(self, exchange: Exchange) -> None:
        """DELETE /v1/responses/{id}."""
        key = await self._key(exchange)
        id = exchange.parameters["id"]
        if not is_response_id(id) or not await self._store.delete(key.id, id):
            raise _not_found(id)
        await self._runs.cancel(id)
        await exchange.answer({"id": id, "object": "response", "deleted": True})

    async def cancel(self, exchange: Exchange) -> None:
        """POST /v1/responses/{id}/cancel."""
        key = await self._key(exchange)
        found = await self._find(exchange, key)
        if not found.resource.get("background"):
            raise InvalidRequest("Only a background response can be cancelled")
        if found.is_open and not await self._runs.cancel(found.id):
            # It runs in another process, which looks for this.
            await self._store.change(found.id, {**found.resource, "status": "cancelled"})
        await exchange.answer((await self._find(exchange, key)).resource)

    async def _call(
        self, exchange: Exchange, body: Mapping[str, Any], key: GatewayKey
    ) -> ResponseCall:
        """The call that this body asks for, with the history that it names."""
        size = exchange.body_bytes
        asked = await work_on(size, read_response, body, self._serving.config.default_model)
        items = await work_on(size, input_items, asked.input, response_id(exchange.call_id))
        before = await self._history.before(key.id, asked.previous_id)
        return ResponseCall(
            asked,
            await self._history.resolved(key.id, items),
            before,
            call_id=exchange.call_id,
            key_id=key.id,
            store=self._store,
        )

    async def _leave(self, call: ResponseCall) -> None:
        try:
            await call.leave()
        except Exception as error:
            log.error("response %s was not stored: %r", call.id, error)

    async def _key(self, exchange: Exchange) -> GatewayKey:
        return await self._serving.keys.find(exchange.secret)

    async def _find(self, exchange: Exchange, key: GatewayKey) -> StoredResponse:
        """The response that the path names; one whose process is gone has failed."""
        id = exchange.parameters["id"]
        found = None
        if is_response_id(id):
            found = (await self._store.find(key.id, [id])).get(id)
        if found is None:
            raise _not_found(id)
        if found.is_open and not self._runs.has(id) and await self._store.is_lost(found):
            lost = EngineError("The process that wrote this response has ended")
            failed = {**found.resource, "status": "failed", "error": failure(lost)}
            await self._store.change(id, failed)
            found = (await self._store.find(key.id, [id])).get(id, found)
        return found


def _not_found(id: str) -> NotFoundHere:
    return NotFoundHere(f"There is no response {id[:100]!r}")


def _shown(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item as the list of them has it: with parts, where it was a text."""
    shown = dict(item)
    if item["type"] == "message":
        kind = "output_text" if item["role"] == "assistant" else "input_text"
        if isinstance(item.get("content"), str):
            shown["content"] = [{"type": kind, "text": item["content"]}]
            if kind == "output_text":
                shown["content"][0]["annotations"] = []
        shown.setdefault("status", "completed")
    return shown


def _page(items: Sequence[Mapping[str, Any]], limit: int) -> Mapping[str, Any]:
    page = items[:limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(items) > limit,
    }
