"""The gateway on a port of loopback, over a database and providers on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from roost_inference.http.listener import listening
from roost_inference.testing.scripted import ScriptedEngine
from roost_platform.db.base.engine import Database
from roost_platform.db.gateway.key_admin import KeyAdmin, NewKey
from roost_platform.gateway.door import Gateway
from roost_platform.settings.config import Settings, load_settings
from roost_platform.web.security import known_hosts
from roost_platform.wiring.models import open_gateway

ENGINE_KEY = "engine-key-of-the-test"
PATIENCE_S = 20.0


@dataclass(slots=True)
class GatewayServer:
    """A gateway that listens. secret: of a key without bounds; engine: the target `roost/…`."""

    url: str
    secret: str
    key_id: str
    app: Gateway
    settings: Settings
    database: Database
    engine: ScriptedEngine
    client: httpx2.AsyncClient

    async def new_key(self, name: str, **bounds: Any) -> tuple[str, str]:
        """Make another key; its id and its secret."""
        return await KeyAdmin(self.database).create(NewKey(name, **bounds), "tester")

    async def post(
        self, path: str, body: Mapping[str, Any], secret: str | None = None
    ) -> httpx2.Response:
        """POST as the holder of a key."""
        headers = {"authorization": f"Bearer {secret or self.secret}"}
        return await self.client.post(f"{self.url}{path}", json=body, headers=headers)

    async def until_idle(self) -> None:
        """Wait for the end of every call: it is settled after its client has read the answer."""
        async with asyncio.timeout(PATIENCE_S):
            while self.app.serving.admission.calls:
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def gateway_server(
    folder: Path,
    *,
    database_url: str | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> AsyncIterator[GatewayServer]:
    """Serve a gateway whose bundled core is a scripted engine; `fast` is an alias of it.

    overrides: settings, nested like the sections, such as providers and models.
    """
    async with ScriptedEngine(api_key=ENGINE_KEY) as engine:
        given: dict[str, Any] = {
            "data_dir": folder,
            "engine": {"url": engine.base_url, "api_key": ENGINE_KEY},
            "models": {"fast": {"targets": ["roost/scripted"]}},
        }
        for section, values in (overrides or {}).items():
            given[section] = {**given.get(section, {}), **values}
        settings = load_settings(given, environ=dict(environ or {}))
        hosts = known_hosts(settings.web.allowed_hosts, settings.public_base_url or "")
        database = Database(database_url or f"sqlite:///{folder / 'roost.db'}")
        await database.migrate()
        try:
            async with (
                open_gateway(settings, database, hosts) as app,
                listening(app) as url,
                httpx2.AsyncClient(timeout=30) as client,
            ):
                id, secret = await KeyAdmin(database).create(NewKey("test"), "tester")
                yield GatewayServer(url, secret, id, app, settings, database, engine, client)
        finally:
            await database.close()
