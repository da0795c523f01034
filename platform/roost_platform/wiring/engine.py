"""Opens the clients of the engine in use."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from roost_inference.client.engine_client import EngineClient
from roost_inference.client.routing.pool import AnyEngine, EnginePool
from roost_inference.client.sessions import EngineSessions
from roost_platform.data_folder.engine_key import with_engine_key
from roost_platform.db.stores import Stores
from roost_platform.settings.config import Settings
from roost_platform.wiring.storage import access_policies
from roost_workflows.agents import AgentRegistry
from roost_workflows.hints.engine_hints import EngineHints
from roost_workflows.warmup import warm

log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def engine_client(settings: Settings) -> AsyncIterator[AnyEngine]:
    """Open a client of the engine in use, bundled or not, or of several with a router."""
    engine = with_engine_key(settings).engine
    key, urls = engine.api_key.get_secret_value(), settings.engine_urls
    # A name given to the bundled core is what it answers to, so it can be asked for as well.
    model = engine.model_name or ""
    client: AnyEngine
    if len(urls) > 1 or engine.prefill_urls:
        # Loaded here: a courier has no use for it, and most installations have one engine.
        from roost_platform.gateway.observing.facts import tell_step

        client = EnginePool(urls, engine.prefill_urls, api_key=key, model=model, on_step=tell_step)
    else:
        client = EngineClient(urls[0], api_key=key, model=model)
    try:
        yield client
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def engine_hints(engine: AnyEngine) -> AsyncIterator[EngineHints]:
    """Open the way by which hints about sessions reach the engine."""
    hints = EngineHints(EngineSessions(engine))
    try:
        yield hints
    finally:
        await hints.close()


@contextlib.asynccontextmanager
async def warming(
    settings: Settings, stores: Stores, engine: AnyEngine, registry: AgentRegistry
) -> AsyncIterator[None]:
    """Have the default agent's prefix computed for every account while the block runs; where each
    chat has a salt of its own there is nothing to share.
    """
    agent = registry.agent(registry.default)

    async def run() -> None:
        salts = await stores.tenants.salts(access_policies(settings))
        if agent is not None and salts:
            await warm(engine, agent, salts)

    task = asyncio.create_task(run())
    task.add_done_callback(_log_failure)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def _log_failure(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.warning("warming failed: %r", error)
