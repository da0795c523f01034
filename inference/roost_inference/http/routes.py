"""The engine's HTTP face: OpenAI's chat completions, models, sessions, health and metrics."""

import asyncio
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from roost_inference.config import EngineConfig
from roost_inference.errors import EngineError, EngineUnavailable, InvalidRequest, UnknownModel
from roost_inference.http.chat_service import Responder
from roost_inference.http.exchange import Answer, RequireKey, error_response, read_body, while_here
from roost_inference.http.generation import Generation
from roost_inference.http.json_body import parse_json
from roost_inference.http.metrics import CONTENT_TYPE
from roost_inference.http.origin import KnownClients
from roost_inference.http.preparation import Preparation, Preparers
from roost_inference.http.wire import ChatCall, parse_chat_call, parse_session_order
from roost_inference.kv.sessions import SESSIONS_KEPT

# The body of a request about a session: a reason, a time and a salt.
ORDER_BYTES_MAX = 16 * 2**10
SESSION_ACTIONS = ("pin", "prefetch", "offload")


@dataclass(slots=True)
class Slot:
    """The place of the responder, empty while the model loads."""

    responder: Responder | None = None

    def get(self) -> Responder:
        if self.responder is None:
            raise EngineUnavailable("The model is still loading")
        return self.responder


def build_app(slot: Slot, config: EngineConfig) -> Starlette:
    """The ASGI app over whatever stands in the slot, now or later."""
    preparers = Preparers()
    face = _Face(slot, preparers, config.max_body_bytes)
    key = config.api_key.get_secret_value()
    middleware = [
        Middleware(KnownClients, listens_on=config.host, allowed=config.allowed_hosts),
    ]
    if key:
        middleware.append(Middleware(RequireKey, key=key))
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", face.chat, methods=["POST"]),
            Route("/v1/models", face.models),
            Route("/v1/models/{name:path}", face.model),
            Route("/v1/sessions", face.sessions),
            Route("/v1/sessions/{id}", face.close_session, methods=["DELETE"]),
            Route("/v1/sessions/{id}/{action}", face.session, methods=["POST"]),
            Route("/health", face.health),
            Route("/metrics", face.metrics),
        ],
        middleware=middleware,
        exception_handlers={
            EngineError: _engine_error,
            HTTPException: _http_error,
            ClientDisconnect: _client_left,
            Exception: _unexpected,
        },
    )
    app.state.preparers = preparers
    return app


class _Face:
    """One method per route."""

    def __init__(self, slot: Slot, preparers: Preparers, max_body_bytes: int) -> None:
        self._slot = slot
        self._preparers = preparers
        self._max_body_bytes = max_body_bytes

    async def chat(self, request: Request) -> Any:
        body = await read_body(request, self._max_body_bytes)
        preparation = self._preparers.open(len(body))
        session_id = request.headers.get("x-session-id")
        work = self._begin(self._slot.get(), body, session_id, preparation)
        return Answer(*await while_here(request.receive, preparation, work))

    async def _begin(
        self, responder: Responder, body: bytes, session_id: str | None, preparation: Preparation
    ) -> tuple[Generation, ChatCall]:
        def parse() -> tuple[Any, ChatCall]:
            value = parse_json(body)
            return value, parse_chat_call(value, session_id=session_id)

        value, call = await preparation.run(parse)
        return await responder.respond(call, value, preparation), call

    async def models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": self._slot.get().models()})

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        for model in self._slot.get().models():
            if model["id"] == name:
                return JSONResponse(model)
        raise UnknownModel(f"The model {name!r} does not exist", param="model")

    async def sessions(self, request: Request) -> Response:
        listing = await asyncio.to_thread(self._slot.get().sessions, _limit(request))
        return JSONResponse({"object": "list", "data": listing})

    async def session(self, request: Request) -> Response:
        action = request.path_params["action"]
        if action not in SESSION_ACTIONS:
            raise HTTPException(404, f"no such action: {action}")
        return await self._order(request, action)

    async def close_session(self, request: Request) -> Response:
        return await self._order(request, "close")

    async def _order(self, request: Request, action: str) -> Response:
        body = await read_body(request, ORDER_BYTES_MAX)
        responder = self._slot.get()
        order = parse_session_order(parse_json(body) if body else {})
        session_id = request.path_params["id"]
        done = await asyncio.to_thread(responder.session, session_id, action, order)
        return JSONResponse(done)

    async def health(self, request: Request) -> Response:
        if self._slot.responder is None:
            return JSONResponse({"status": "starting"}, status_code=503)
        status, body = self._slot.responder.health()
        return JSONResponse(body, status_code=status)

    async def metrics(self, request: Request) -> Response:
        return Response(self._slot.get().metrics(), media_type=CONTENT_TYPE)


def _limit(request: Request) -> int | None:
    """How many sessions are wanted, None for all."""
    given = request.query_params.get("limit")
    if given is None:
        return None
    if not (given.isdecimal() and len(given) < 9 and 0 < int(given) <= SESSIONS_KEPT):
        raise InvalidRequest(f"limit must be 1 to {SESSIONS_KEPT}", param="limit")
    return int(given)


async def _engine_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, EngineError)
    return error_response(error)


async def _http_error(request: Request, error: Exception) -> Response:
    """Unknown paths and methods, in the shape of every other error."""
    assert isinstance(error, HTTPException)
    invalid = InvalidRequest(f"{request.method} {request.url.path}: {error.detail}")
    invalid.http_status = error.status_code
    invalid.code = "not_found" if error.status_code == 404 else "method_not_allowed"
    response = error_response(invalid)
    response.headers.update(error.headers or {})
    return response


async def _client_left(request: Request, error: Exception) -> Response:
    """Nobody reads this; 499 is what logs call it."""
    return Response(status_code=499)


async def _unexpected(request: Request, error: Exception) -> Response:
    return error_response(EngineError("The engine's server failed; its log says how"))
