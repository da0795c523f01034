"""The web app: the API, the webhooks and the console under one port."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount

from roost_inference.client.routing.pool import AnyEngine
from roost_platform.api.app import build_api
from roost_platform.api.routes import Api
from roost_platform.api.webhooks import Webhooks
from roost_platform.console.dependencies import ConsoleDeps
from roost_platform.console.routes import build_console, not_found
from roost_platform.db.gateway.keys import GatewayKeys
from roost_platform.db.stores import Stores
from roost_platform.gateway.serving import Serving
from roost_platform.intake import PlatformIntake
from roost_platform.settings.config import Settings
from roost_platform.settings.servers import provider_servers
from roost_platform.version import VERSION
from roost_platform.views.engine.watch import EngineWatch
from roost_platform.views.gateway.watch import GatewayWatch
from roost_platform.views.health import HealthView
from roost_platform.views.overview import Overview
from roost_platform.web.console_setup import (
    channel_setups,
    configured_accounts,
    sandbox_phones,
    system_view,
)
from roost_platform.web.proxies import TrustedProxies
from roost_platform.web.security import console_middleware
from roost_workflows.agents import AgentRegistry


@dataclass(slots=True)
class WebParts:
    """What the web app works with. gateway: None where it is off."""

    settings: Settings
    stores: Stores
    intake: PlatformIntake
    engine: AnyEngine
    registry: AgentRegistry
    temporal_probe: Callable[[], Awaitable[bool]]
    closing: asyncio.Event
    gateway: Serving | None = None


def build_app(parts: WebParts) -> Starlette:
    """Build the app with every route. Call it inside the event loop that will serve it."""
    settings = parts.settings
    health = HealthView(
        parts.stores,
        parts.engine,
        parts.temporal_probe,
        accounts=configured_accounts(settings),
    )
    overview = Overview(parts.stores, health)
    watch = EngineWatch(parts.engine, changed=parts.stores.database.changed)
    gateway = gateway_watch(parts)
    api = Api(parts.stores, parts.intake, parts.registry, overview, parts.closing, gateway)
    webhooks = Webhooks(settings, parts.intake, parts.stores.artifacts)
    console, console_pages = build_console(console_deps(parts, health, watch, gateway))
    routes: list[BaseRoute] = [
        Mount("/api", build_api(api)),
        *webhooks.routes(),
        *console_pages,
    ]

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        watching = asyncio.create_task(watch.run())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait({watching})
            await webhooks.close()
            if gateway is not None:
                await gateway.close()
            await console.close()

    return Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={404: not_found(console), ClientDisconnect: _nobody_hears},
        middleware=[
            Middleware(TrustedProxies, trusted=settings.web.trusted_proxies),
            *console_middleware(
                allowed_hosts=settings.web.allowed_hosts,
                public_base_url=settings.public_base_url or "",
                body_bytes_max=settings.web.max_body_bytes,
            ),
        ],
    )


async def _nobody_hears(_request: Request, _error: Exception) -> Response:
    """Answer a client that left within its body, or whose body is no HTTP: no fault of ours."""
    return Response(status_code=400)


def gateway_watch(parts: WebParts) -> GatewayWatch | None:
    """Return what the console asks of the gateway; None where it is off."""
    if parts.gateway is None:
        return None
    calls = GatewayKeys(parts.stores.database)
    servers = provider_servers(parts.settings)
    shown = {name: f"{host}:{port}" for name, (host, port) in servers.items()}
    return GatewayWatch(parts.gateway, calls, shown)


def console_deps(
    parts: WebParts,
    health: HealthView,
    watch: EngineWatch,
    gateway: GatewayWatch | None = None,
) -> ConsoleDeps:
    """Return what the console works with."""
    names = [name for name in parts.registry.names if name != parts.registry.default]
    return ConsoleDeps(
        stores=parts.stores,
        intake=parts.intake,
        health=health,
        engine_watch=watch,
        gateway=gateway,
        find_agent=parts.registry.agent,
        alerts=parts.settings.alerts,
        system=system_view(parts.settings),
        phones=sandbox_phones(parts.settings),
        public_base_url=parts.settings.public_base_url or "",
        agents=(parts.registry.default, *names),
        kinds=parts.settings.kinds,
        channels=channel_setups(parts.settings),
        viewers_read_texts=parts.settings.console.viewers_read_texts,
        environment=parts.settings.console.environment,
        version=VERSION,
    )
