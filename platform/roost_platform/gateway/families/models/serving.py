"""GET /v1/models: OpenAI's form, or Anthropic's where the client sends `anthropic-version`."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qs

from roost_inference.errors import EngineError, InvalidRequest
from roost_platform.gateway.exchange import Exchange
from roost_platform.gateway.families.models.listing import ListedModel, ModelList
from roost_platform.gateway.keys.ports import KeyStore

PATH: Final = "/v1/models"
PAGE_MAX: Final = 1000  # also where the client names no limit
YEAR_MAX_S: Final = 253_402_300_799  # the last second of the year 9999
# Anthropic's names of errors, by status.
ERROR_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}

Serve = Callable[[Exchange], Awaitable[None]]


class ModelPages:
    """Serves the list and its entries to holders of a key."""

    def __init__(self, keys: KeyStore, models: ModelList) -> None:
        self._keys = keys
        self._models = models

    async def list(self, exchange: Exchange) -> None:
        """Answer with the models that the key may use."""
        await _in_its_form(exchange, self._list)

    async def one(self, exchange: Exchange) -> None:
        """Answer with the model that the address names."""
        await _in_its_form(exchange, self._one)

    async def _list(self, exchange: Exchange) -> None:
        key = await self._keys.find(exchange.secret)
        models = await self._models.all(key)
        if _is_anthropic(exchange):
            await exchange.answer(_page(models, exchange))
        else:
            data = [_openai(model) for model in models]
            await exchange.answer({"object": "list", "data": data})

    async def _one(self, exchange: Exchange) -> None:
        key = await self._keys.find(exchange.secret)
        model = await self._models.one(exchange.path.removeprefix(f"{PATH}/"), key)
        form = _anthropic if _is_anthropic(exchange) else _openai
        await exchange.answer(form(model))


async def _in_its_form(exchange: Exchange, serve: Serve) -> None:
    """Serve, with errors in Anthropic's form for its clients; the door writes OpenAI's."""
    try:
        await serve(exchange)
    except EngineError as error:
        if not _is_anthropic(exchange):
            raise
        status = error.http_status
        kind = ERROR_TYPES.get(status, "api_error")
        body = {"type": "error", "error": {"type": kind, "message": error.message}}
        await exchange.answer({**body, "request_id": exchange.request_id}, status=status)


def _is_anthropic(exchange: Exchange) -> bool:
    return bool(exchange.headers.get("anthropic-version"))


def _openai(model: ListedModel) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": model.owner,
    }
    if model.context_tokens:  # by the names that clients look for
        entry |= {"context_length": model.context_tokens, "max_model_len": model.context_tokens}
    return entry


def _anthropic(model: ListedModel) -> dict[str, Any]:
    created = datetime.fromtimestamp(min(model.created, YEAR_MAX_S), UTC)
    entry: dict[str, Any] = {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    if model.context_tokens:
        entry["max_input_tokens"] = model.context_tokens
    return entry


def _page(models: Sequence[ListedModel], exchange: Exchange) -> Mapping[str, Any]:
    """A page of the list: `limit` entries after `after_id` or before `before_id`."""
    query = parse_qs(exchange.scope.get("query_string", b"").decode("latin-1"))
    limit = _limit(query.get("limit", [str(PAGE_MAX)])[0])
    names = [model.name for model in models]
    start, stop = 0, len(models)
    after, before = query.get("after_id", [""])[0], query.get("before_id", [""])[0]
    if after:
        start = _place(names, after, "after_id") + 1
    if before:
        stop = _place(names, before, "before_id")
    chosen = models[start:stop]
    page = chosen[-limit:] if before and not after else chosen[:limit]
    return {
        "data": [_anthropic(model) for model in page],
        "has_more": len(page) < len(chosen),
        "first_id": page[0].name if page else None,
        "last_id": page[-1].name if page else None,
    }


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) <= PAGE_MAX):
        raise InvalidRequest(f"limit has to be from 1 to {PAGE_MAX}", param="limit")
    return int(text)


def _place(names: Sequence[str], name: str, field: str) -> int:
    if name not in names:
        raise InvalidRequest(f"{field} names no model", param=field)
    return names.index(name)
