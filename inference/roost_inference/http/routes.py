"""The engine's HTTP routes: OpenAI's completions and models, vLLM's tokens, sessions, figures."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from roost_inference.config import EngineConfig
from roost_inference.embeddings.service import EmbeddingService
from roost_inference.errors import EngineError, EngineUnavailable, InvalidRequest, UnknownModel
from roost_inference.http.access.key import RequireKey
from roost_inference.http.access.origin import KnownClients
from roost_inference.http.access.request_id import RequestIds, id_of
from roost_inference.http.exchange import (
    AnswerResponse,
    StreamedResponse,
    error_response,
    read_body,
    while_connected,
)
from roost_inference.http.handover.routes import HandoverRoutes
from roost_inference.http.handover.service import HandoverService, UnknownLease
from roost_inference.http.metrics import CONTENT_TYPE
from roost_inference.http.plain_text.replies import CompletionResponse
from roost_inference.http.plain_text.tokens import detokenized, tokenized
from roost_inference.http.preparation import Preparation, PreparationLanes
from roost_inference.http.replies import AnswerForm
from roost_inference.http.service_port import ChatService
from roost_inference.http.vectors.route import EmbeddingsRoute
from roost_inference.kv.sessions import SESSIONS_KEPT
from roost_inference.wire.chat_call import ChatCall
from roost_inference.wire.completion_call import parse_completion_call
from roost_inference.wire.fields import warnings_of, with_warnings
from roost_inference.wire.ids import REQUEST_ID
from roost_inference.wire.json_body import parse_json
from roost_inference.wire.legacy import modern, speaks_of_functions
from roost_inference.wire.parsing import parse_chat_call, parse_session_hint
from roost_inference.wire.session_hint import SessionHint

# The body of a request about a session: a reason, a time and a salt.
HINT_BYTES_MAX = 16 * 2**10
SESSION_ACTIONS = ("pin", "prefetch", "offload")
VERSION = version("roost")

Prepare = Callable[[ChatService, bytes, str | None, Preparation], StreamedResponse[Any]]


@dataclass(slots=True)
class ServiceHolder:
    """Holds the service that the routes serve; empty while the model loads."""

    service: ChatService | None = None
    embeddings: EmbeddingService | None = None
    handover: HandoverService | None = None

    def require(self) -> ChatService:
        """The service. Raises EngineUnavailable while there is none."""
        if self.service is None:
            raise EngineUnavailable("The model is still loading")
        return self.service

    def vectors(self) -> EmbeddingService | None:
        """The service for embeddings, None without a model for them. Raises EngineUnavailable while
        models load."""
        self.require()
        return self.embeddings

    def leases(self) -> HandoverService:
        """The service for KV that goes to other engines. Raises EngineUnavailable while the model
        loads, and UnknownLease where the service is no engine's."""
        self.require()
        if self.handover is None:
            raise UnknownLease("This engine hands no KV over")
        return self.handover

    def reject(self, body: bytes) -> None:
        """A request was refused: what another engine keeps for it is released."""
        if self.handover is not None:
            self.handover.reject(body)

    def models(self) -> list[dict[str, Any]]:
        """The models served, the one that answers first. Raises EngineUnavailable."""
        own = self.require().models()
        return own if self.embeddings is None else [*own, self.embeddings.model()]


def build_app(holder: ServiceHolder, config: EngineConfig) -> Starlette:
    """The ASGI app over the holder's service, whether it is there now or comes later."""
    lanes = PreparationLanes()
    routes = _Routes(holder, lanes, config.max_body_bytes)
    embeddings = EmbeddingsRoute(holder.vectors, lanes, config.max_body_bytes)
    handover = HandoverRoutes(holder.leases, lanes, config.max_body_bytes)
    key = config.api_key.get_secret_value()
    middleware = [
        Middleware(RequestIds),
        Middleware(KnownClients, listens_on=config.host, allowed=config.allowed_hosts),
    ]
    if key:
        middleware.append(Middleware(RequireKey, key=key))
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", routes.chat, methods=["POST"]),
            Route("/v1/completions", routes.completions, methods=["POST"]),
            Route("/v1/embeddings", embeddings.embeddings, methods=["POST"]),
            Route("/tokenize", routes.tokenize, methods=["POST"]),
            Route("/detokenize", routes.detokenize, methods=["POST"]),
            Route("/v1/models", routes.models),
            Route("/v1/models/{name:path}", routes.model),
            Route("/v1/sessions", routes.sessions),
            Route("/v1/sessions/{id:path}", routes.close_session, methods=["DELETE"]),
            Route("/v1/sessions/{id:path}/{action}", routes.session, methods=["POST"]),
            *handover.table(),
            Route("/", routes.name),
            Route("/version", routes.version),
            Route("/ping", routes.ping, methods=["GET", "POST"]),
            Route("/health", routes.health),
            Route("/metrics", routes.metrics),
        ],
        middleware=middleware,
        exception_handlers={
            EngineError: _engine_error,
            HTTPException: _http_error,
            ClientDisconnect: _client_left,
            Exception: _unexpected,
        },
    )
    app.state.preparation_lanes = lanes
    return app


class _Routes:
    """One method per route."""

    def __init__(self, holder: ServiceHolder, lanes: PreparationLanes, body_bytes_max: int) -> None:
        self._holder = holder
        self._lanes = lanes
        self._body_bytes_max = body_bytes_max

    async def chat(self, request: Request) -> Any:
        return await self._answer(request, prepare_answer)

    async def completions(self, request: Request) -> Any:
        return await self._answer(request, prepare_completions)

    async def _answer(self, request: Request, prepare: Prepare) -> Any:
        body = await read_body(request, self._body_bytes_max)
        try:
            return await self._begin(request, prepare, body)
        except BaseException:
            self._holder.reject(body)
            raise

    async def _begin(self, request: Request, prepare: Prepare, body: bytes) -> Any:
        preparation = self._lanes.open(len(body))
        service, session_id = self._holder.require(), request.headers.get("x-session-id")
        # Off the event loop, in one piece: JSON, templates, tokens and grammars take milliseconds
        # that every stream would feel.
        preparing = preparation.run(
            lambda: prepare(service, body, session_id, preparation),
            undo=StreamedResponse.cancel,
        )
        return await while_connected(request.receive, preparation, preparing)

    async def tokenize(self, request: Request) -> Response:
        return await self._prepared(request, tokenized)

    async def detokenize(self, request: Request) -> Response:
        return await self._prepared(request, detokenized)

    async def _prepared(
        self, request: Request, work: Callable[[ChatService, bytes, Preparation], dict[str, Any]]
    ) -> Response:
        body = await read_body(request, self._body_bytes_max)
        preparation = self._lanes.open(len(body))
        service = self._holder.require()
        working = preparation.run(lambda: work(service, body, preparation))
        return JSONResponse(await while_connected(request.receive, preparation, working))

    async def name(self, request: Request) -> Response:
        return PlainTextResponse("Roost's engine is running\n")

    async def version(self, request: Request) -> Response:
        builds = [model.get("build") for model in self._holder.require().models()]
        return JSONResponse({"version": VERSION, "build": builds[0] if builds else None})

    async def ping(self, request: Request) -> Response:
        """200 without a body once requests are answered, which SageMaker and vLLM's clients ask."""
        status = self._holder.service.health()[0] if self._holder.service is not None else 503
        return Response(status_code=status)

    async def models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": self._holder.models()})

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        for model in self._holder.models():
            if model["id"] == name:
                return JSONResponse(model)
        raise UnknownModel(f"The model {name!r} does not exist", param="model")

    async def sessions(self, request: Request) -> Response:
        listing = await asyncio.to_thread(self._holder.require().sessions, _limit(request))
        return JSONResponse({"object": "list", "data": listing})

    async def session(self, request: Request) -> Response:
        action = request.path_params["action"]
        if action not in SESSION_ACTIONS:
            raise HTTPException(404, f"no such action: {action}")
        return await self._act(request, action)

    async def close_session(self, request: Request) -> Response:
        return await self._act(request, "close")

    async def _act(self, request: Request, action: str) -> Response:
        body = await read_body(request, HINT_BYTES_MAX)
        service = self._holder.require()
        value = parse_json(body) if body else {}
        hint = parse_session_hint(value)
        session_id = request.path_params["id"]
        result = await asyncio.to_thread(service.session, session_id, action, hint)
        return JSONResponse(with_warnings(result, warnings_of(value, SessionHint)))

    async def health(self, request: Request) -> Response:
        if self._holder.service is None:
            return JSONResponse({"status": "starting"}, status_code=503)
        status, body = self._holder.service.health()
        if self._holder.embeddings is not None:
            body["embeddings"] = self._holder.embeddings.report()
        return JSONResponse(body, status_code=status)

    async def metrics(self, request: Request) -> Response:
        return Response(self._holder.require().metrics(), media_type=CONTENT_TYPE)


def prepare_answer(
    service: ChatService, body: bytes, session_id: str | None, preparation: Preparation
) -> AnswerResponse:
    """Parse a request, hand it to the service, and make its response: one piece of work.

    `session_id` is the header's, for a body without one. Raises EngineError.
    """
    value = parse_json(body)
    call = parse_chat_call(value, session_id=session_id)
    warnings = (*warnings_of(modern(value), ChatCall), *service.warnings(call))
    form = AnswerForm(warnings=warnings, speaks_of_functions=speaks_of_functions(value))
    return AnswerResponse(service.prepare(call, value, preparation), call, form)


def prepare_completions(
    service: ChatService, body: bytes, session_id: str | None, preparation: Preparation
) -> CompletionResponse:
    """The same for completions of plain text."""
    call = parse_completion_call(parse_json(body), session_id=session_id)
    return CompletionResponse(service.complete(call, preparation), call)


def _limit(request: Request) -> int | None:
    """How many sessions are wanted, None for all."""
    text = request.query_params.get("limit")
    if text is None:
        return None
    if not (text.isdecimal() and len(text) < 9 and 0 < int(text) <= SESSIONS_KEPT):
        raise InvalidRequest(f"limit must be 1 to {SESSIONS_KEPT}", param="limit")
    return int(text)


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
    """The answer to a client that has left, so nobody reads it; 499 is its name in logs."""
    return Response(status_code=499)


async def _unexpected(request: Request, error: Exception) -> Response:
    """It is answered outside of RequestIds, so it bears the id by itself."""
    response = error_response(EngineError("The engine's server failed; its log says how"))
    response.headers[REQUEST_ID] = id_of(request.scope) or ""
    return response
