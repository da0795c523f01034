"""The engine's HTTP face: OpenAI's chat completions, models, sessions, health and metrics."""

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from roost_inference.answering import EngineResponder, Responder
from roost_inference.config import EngineConfig
from roost_inference.errors import EngineError, EngineUnavailable, InvalidRequest, UnknownModel
from roost_inference.exchange import Answer, RequireKey, error_response, read_body
from roost_inference.listening import Server, bind, url_of
from roost_inference.loading import load_engine
from roost_inference.metrics import CONTENT_TYPE
from roost_inference.request import EnginePort
from roost_inference.wire import parse_chat_call, parse_json

WATCH_INTERVAL_S = 0.5
LOAD_STOP_TIMEOUT_S = 10.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Slot:
    """The place of the responder, empty while the model loads."""

    responder: Responder | None = None

    def get(self) -> Responder:
        if self.responder is None:
            raise EngineUnavailable("The model is still loading")
        return self.responder


def build_server(engine: EnginePort, config: EngineConfig | None = None) -> Starlette:
    """The ASGI app that serves a running engine."""
    return build_app(Slot(EngineResponder(engine)), config or EngineConfig())


def build_app(slot: Slot, config: EngineConfig) -> Starlette:
    """The ASGI app over whatever stands in the slot, now or later."""
    face = _Face(slot, config.max_body_bytes)
    key = config.api_key.get_secret_value()
    return Starlette(
        routes=[
            Route("/v1/chat/completions", face.chat, methods=["POST"]),
            Route("/v1/models", face.models),
            Route("/v1/models/{name:path}", face.model),
            Route("/v1/sessions", face.sessions),
            Route("/health", face.health),
            Route("/metrics", face.metrics),
        ],
        middleware=[Middleware(RequireKey, key=key)] if key else [],
        exception_handlers={
            EngineError: _engine_error,
            HTTPException: _http_error,
            ClientDisconnect: _client_left,
            Exception: _unexpected,
        },
    )


class _Face:
    """One method per route."""

    def __init__(self, slot: Slot, max_body_bytes: int) -> None:
        self._slot = slot
        self._max_body_bytes = max_body_bytes

    async def chat(self, request: Request) -> Any:
        body = await read_body(request, self._max_body_bytes)
        responder = self._slot.get()
        value = await asyncio.to_thread(parse_json, body)
        session_id = request.headers.get("x-session-id")
        call = await asyncio.to_thread(parse_chat_call, value, session_id=session_id)
        return Answer(await responder.respond(call, value), call)

    async def models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": self._slot.get().models()})

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        for model in self._slot.get().models():
            if model["id"] == name:
                return JSONResponse(model)
        raise UnknownModel(f"The model {name!r} does not exist", param="model")

    async def sessions(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": self._slot.get().sessions()})

    async def health(self, request: Request) -> Response:
        if self._slot.responder is None:
            return JSONResponse({"status": "starting"}, status_code=503)
        status, body = self._slot.responder.health()
        return JSONResponse(body, status_code=status)

    async def metrics(self, request: Request) -> Response:
        return Response(self._slot.get().metrics(), media_type=CONTENT_TYPE)


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


def serve_engine(
    config: EngineConfig,
    data_dir: Path,
    *,
    on_listening: Callable[[str], None] = lambda url: None,
) -> None:
    """Load the model and serve it until SIGINT or SIGTERM; blocks.

    The port is bound before the model loads, and `on_listening` is told its URL. Raises
    EngineUnavailable if the model can't be loaded or the engine gives up while serving.
    """
    listener = bind(config.host, config.port)
    slot = Slot()
    server = Server(build_app(slot, config), catch_signals=True)
    host = _Host(config, data_dir, slot, server)
    url = url_of(listener)
    log.info("listening on %s", url)
    on_listening(url)
    try:
        with host:
            server.run(sockets=[listener])
    finally:
        listener.close()
    if host.problem is not None:
        raise EngineUnavailable(host.problem)


class _Host:
    """Loads the engine on a thread of its own, watches it, and closes it last."""

    def __init__(self, config: EngineConfig, data_dir: Path, slot: Slot, server: Server) -> None:
        self._config = config
        self._data_dir = data_dir
        self._slot = slot
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loading", daemon=True)
        self.problem: str | None = None

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._thread.join(LOAD_STOP_TIMEOUT_S)
        if self._thread.is_alive():
            # Kernels can't be stopped while they load, and ending Python under them crashes it.
            log.warning("stopped while the model was loading")
            os._exit(0)

    def _run(self) -> None:
        try:
            engine = load_engine(self._config, self._data_dir)
        except Exception as error:
            log.exception("the model can't be loaded")
            self._give_up(str(error) or repr(error))
            return
        try:
            self._slot.responder = EngineResponder(engine)
            log.info("%s is ready", engine.model.name)
            while engine.failure is None:
                if self._stop.wait(WATCH_INTERVAL_S):
                    return
            self._give_up(engine.failure)
        except EngineError as error:
            self._give_up(error.message)
        finally:
            engine.close()

    def _give_up(self, problem: str) -> None:
        self.problem = problem
        self._server.should_exit = True
