"""`roost serve web`: uvicorn around the web app, with open event streams ended on shutdown."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Callable

import uvicorn

from roost_inference.http.connections import ConnectionLimits
from roost_inference.http.listener import RestingServer
from roost_inference.http.protocol.bounded import bounded_protocol
from roost_platform.gateway.door import Gateway
from roost_platform.gateway.observing.facts import LiveFigures
from roost_platform.gateway.observing.live_figures import live_figures
from roost_platform.identity.audit_key import open_trail
from roost_platform.identity.operators import prepare_access
from roost_platform.intake import PlatformIntake
from roost_platform.processes.beating import beating
from roost_platform.processes.serving import run_serving, settle_heap
from roost_platform.settings.config import Settings
from roost_platform.stack import probes
from roost_platform.stack.local_ports import in_use, is_free
from roost_platform.telemetry.measuring import measured
from roost_platform.web.app import WebParts, build_app
from roost_platform.web.front import Front
from roost_platform.web.proxies import ProxyNetworks
from roost_platform.web.security import known_hosts
from roost_platform.wiring.engine import engine_client, engine_hints
from roost_platform.wiring.models import open_gateway
from roost_platform.wiring.storage import load_registry, open_storage
from roost_platform.wiring.worker import temporal_doorbell

log = logging.getLogger(__name__)

GRACEFUL_S = 5


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    run_serving(_serve(settings))
    return 0


@contextlib.asynccontextmanager
async def open_web(settings: Settings) -> AsyncIterator[WebParts]:
    """Open everything that the web app works with."""

    async def temporal_answers() -> bool:
        return await asyncio.to_thread(probes.port_answers, settings.temporal_address)

    async with (
        open_storage(settings) as stores,
        engine_client(settings) as engine,
        engine_hints(engine) as hints,
    ):
        await open_trail(settings, stores.database)
        intake = PlatformIntake(stores, await temporal_doorbell(settings), hints)
        try:
            yield WebParts(
                settings,
                stores,
                intake,
                engine,
                load_registry(settings),
                temporal_answers,
                asyncio.Event(),
            )
        finally:
            await intake.close()


@contextlib.asynccontextmanager
async def serving_gateway(settings: Settings, parts: WebParts) -> AsyncIterator[Gateway | None]:
    """Open the gateway; None where it is off."""
    if not settings.gateway.enabled:
        yield None
        return
    hosts = known_hosts(settings.web.allowed_hosts, settings.public_base_url or "")
    async with open_gateway(settings, parts.stores.database, hosts) as gateway:
        parts.gateway = gateway.serving
        yield gateway


def live_of(gateway: Gateway | None) -> Callable[[], LiveFigures] | None:
    """What a scrape asks for the gateway's figures; None where it is off."""
    if gateway is None:
        return None
    serving = gateway.serving
    return lambda: live_figures(serving.router.catalogue, serving.admission.calls)


class _Server(RestingServer):
    """A uvicorn server that leaves signals alone and sets `ready` when it listens."""

    def __init__(self, config: uvicorn.Config, ready: asyncio.Event) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup()
        if self.started:
            self._ready.set()

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield


def connection_limits(settings: Settings) -> ConnectionLimits:
    """The bounds of the web port; a configured proxy stands for many clients."""
    return ConnectionLimits(shares_address=ProxyNetworks(settings.web.trusted_proxies).has)


async def _serve(settings: Settings) -> None:
    host, port = settings.web.host, settings.web.port
    if port and not is_free(host, port):
        raise in_use(port, "web")
    async with (
        open_web(settings) as parts,
        serving_gateway(settings, parts) as gateway,
    ):
        await prepare_access(settings, parts.stores.database, settings.web_url)
        ready = asyncio.Event()
        server = _Server(
            uvicorn.Config(
                Front(build_app(parts), gateway),
                host=host,
                port=port,
                http=bounded_protocol(connection_limits(settings)),
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                # uvicorn would believe these headers of everybody on this machine; see proxies.py.
                proxy_headers=False,
                timeout_graceful_shutdown=GRACEFUL_S,
            ),
            ready,
        )

        def stop() -> None:
            parts.closing.set()  # event streams end by themselves, so nobody waits for them
            server.should_exit = True

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        async with (
            measured(settings, "web", parts.stores.database, live_of(gateway)),
            beating(parts.stores.heartbeats, "web", ready),
        ):
            settle_heap()
            await server.serve()
