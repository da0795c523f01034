"""The whole web app over given stores, with a token of each role; without a worker or a network."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette

from roost_inference.client.engine_client import EngineClient
from roost_inference.http.listener import listening
from roost_platform.db.stores import Stores
from roost_platform.gateway.serving import Serving
from roost_platform.identity.roles import Role
from roost_platform.identity.tokens import Tokens
from roost_platform.intake import PlatformIntake
from roost_platform.processes.web import connection_limits
from roost_platform.settings.config import load_settings
from roost_platform.testing.chats import DoorbellLog
from roost_platform.web.app import WebParts, build_app
from roost_workflows.agents import AgentRegistry, load_agents

NOWHERE = "http://127.0.0.1:9"  # nothing listens there


@dataclass(frozen=True, slots=True)
class ApiServer:
    """A web app that listens. tokens: by the name of the role."""

    stores: Stores
    url: str
    app: Starlette
    tokens: Mapping[str, str]
    store: Tokens
    closing: asyncio.Event

    def as_(self, role: str) -> dict[str, str]:
        """The headers of a caller with this role."""
        return {"Authorization": f"Bearer {self.tokens[role]}"}


@contextlib.asynccontextmanager
async def api_server(
    stores: Stores,
    data_dir: Path,
    environ: Mapping[str, str] | None = None,
    registry: AgentRegistry | None = None,
    gateway: Serving | None = None,
) -> AsyncIterator[ApiServer]:
    """Serve the app on a free port of loopback. registry: the built-in agent alone by default.

    gateway: what pages and the API tell of; its own addresses are not served.
    """
    settings = load_settings({"data_dir": data_dir}, environ=dict(environ or {}))
    intake = PlatformIntake(stores, DoorbellLog())
    engine = EngineClient(NOWHERE)
    closing = asyncio.Event()

    async def no_temporal() -> bool:
        return False

    agents = registry or load_agents()
    parts = WebParts(settings, stores, intake, engine, agents, no_temporal, closing, gateway)
    app = build_app(parts)
    store = Tokens(stores.database, time.time)
    tokens = {role.name: await store.create(role.name, role) for role in Role if role}
    async with listening(app, limits=connection_limits(settings)) as url:
        yield ApiServer(stores, url, app, tokens, store, closing)
        closing.set()
    await intake.close()
    await engine.close()
