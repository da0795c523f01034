"""The bundled engine as a server: the port is bound at once, the model loads on a thread."""

import logging
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from starlette.applications import Starlette

from roost_inference.config import EngineConfig
from roost_inference.engine import Engine
from roost_inference.errors import EngineError, EngineUnavailable
from roost_inference.http.access.origin import WILDCARDS
from roost_inference.http.chat_service import EngineChatService
from roost_inference.http.engine_port import EnginePort
from roost_inference.http.handover.service import HandoverService
from roost_inference.http.listener import SignalServer, bind, url_of
from roost_inference.http.preparation import PreparationLanes
from roost_inference.http.routes import ServiceHolder, build_app
from roost_inference.kv.handover.local import LocalServer
from roost_inference.kv.handover.offers import Address
from roost_inference.loading import load_engine, open_embeddings
from roost_inference.profiles.background import BackgroundValidation

LOAD_STOP_TIMEOUT_S = 2.0
CLOSE_TIMEOUT_S = 15.0

log = logging.getLogger(__name__)


def build_server(engine: EnginePort, config: EngineConfig | None = None) -> Starlette:
    """The ASGI app that serves a running engine."""
    service = EngineChatService(engine)
    handover = HandoverService(engine, service)
    return build_app(ServiceHolder(service, handover=handover), config or EngineConfig())


def serve_engine(
    config: EngineConfig,
    data_dir: Path,
    *,
    on_listening: Callable[[str], None] = lambda url: None,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Load the model and serve it until SIGINT or SIGTERM; blocks.

    The port is bound before the model loads; `on_listening` gets its URL. `on_ready` is called, on
    another thread, once the model answers. Raises EngineUnavailable if the model
    can't be loaded or the engine gives up while serving.
    """
    listener = bind(config.host, config.port)
    holder = ServiceHolder()
    app = build_app(holder, config)
    server = SignalServer(app, catch_signals=True)
    host = _EngineHost(config, data_dir, holder, server, app.state.preparation_lanes, on_ready)
    host.address = address_of(config, listener)
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


def address_of(config: EngineConfig, listener: socket.socket) -> Address:
    """Where other engines reach this one."""
    host = config.handover_host
    if host is None:
        host = socket.gethostname() if config.host in WILDCARDS else config.host
    return Address(host, listener.getsockname()[1])


class _EngineHost:
    """Loads the engine on a thread of its own, watches it, and closes it after the server."""

    def __init__(
        self,
        config: EngineConfig,
        data_dir: Path,
        holder: ServiceHolder,
        server: SignalServer,
        lanes: PreparationLanes,
        on_ready: Callable[[], None],
    ) -> None:
        self._config = config
        self._data_dir = data_dir
        self._holder = holder
        self._server = server
        self._lanes = lanes
        self._on_ready = on_ready
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loading", daemon=True)
        self.problem: str | None = None
        self.address = Address()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc_info: object) -> None:
        loaded = self._holder.service is not None
        # The model's vocabulary must not go while a prompt is being tokenised.
        if not self._lanes.close(CLOSE_TIMEOUT_S):
            log.warning("stopped without closing the engine: a request is still being prepared")
            os._exit(1)
        self._stop.set()
        self._thread.join(CLOSE_TIMEOUT_S if loaded else LOAD_STOP_TIMEOUT_S)
        if self._thread.is_alive():
            # Kernels can't be stopped while they load, and ending Python under them crashes it.
            log.warning(
                "stopped without closing the engine: it is %s", "busy" if loaded else "loading"
            )
            os._exit(1 if loaded else 0)

    def _run(self) -> None:
        try:
            engine = load_engine(self._config, self._data_dir)
        except Exception as error:
            log.exception("the model can't be loaded")
            self._give_up(str(error) or repr(error))
            return
        service = EngineChatService(engine)
        local: LocalServer | None = None
        validation = BackgroundValidation(engine, self._config, self._data_dir / "profiles")
        service.validation = validation
        try:
            self._holder.embeddings = open_embeddings(self._config)
            local = self._offer_kv(engine)
            self._holder.handover = HandoverService(engine, service)
            self._holder.service = service
            validation.start()
            self._on_ready()
            engine.on_failure = self._stop.set
            if engine.failure is None:  # it may have failed before it could tell
                self._stop.wait()
            if engine.failure is not None:
                self._give_up(engine.failure)
        except EngineError as error:
            self._give_up(error.message)
        finally:
            validation.stop()
            if local is not None:
                local.close()
            if self._holder.embeddings is not None:
                self._holder.embeddings.close()
            engine.close()

    def _offer_kv(self, engine: Engine) -> LocalServer | None:
        """Tell the engine where others reach it, and open its socket for those of this machine. One
        that only writes answers has no KV that others would fetch."""
        if engine.handover is None:
            return None
        engine.handover.offers.address = self.address
        if self._config.role == "decode":
            return None
        local = LocalServer(engine.handover.offers, self._config.api_key.get_secret_value())
        engine.handover.offers.address = replace(self.address, socket=local.start())
        return local

    def _give_up(self, problem: str) -> None:
        self.problem = problem
        self._server.should_exit = True
