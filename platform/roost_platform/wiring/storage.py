"""Opens the database of the settings once it has our tables."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from roost_channels.config import Progress
from roost_platform.db import models
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import Stores, open_stores
from roost_platform.errors import ConfigError, NotReachable
from roost_platform.settings.config import Settings
from roost_platform.settings.rules import approval_rules
from roost_platform.version import VERSION
from roost_workflows.agents import AgentRegistry, load_agents
from roost_workflows.errors import AgentsError

log = logging.getLogger(__name__)
STORAGE_WAIT_S = 60.0
STORAGE_RETRY_S = 0.5


def load_registry(settings: Settings) -> AgentRegistry:
    """Load the agents of this installation; raises ConfigError, which names the one that fails."""
    try:
        return load_agents(",".join(settings.agents))
    except AgentsError as error:
        raise ConfigError(str(error)) from error


def access_policies(settings: Settings) -> Mapping[tuple[str, str], AccessPolicy]:
    """Return who may talk, by (channel, account)."""
    return {
        (kind.channel, config.account): AccessPolicy(config.access, config.allowlist)
        for kind, config in settings.accounts()
    }


@contextlib.asynccontextmanager
async def open_storage(settings: Settings) -> AsyncIterator[Stores]:
    """Open the stores once the database has our tables; raises NotReachable after a minute."""
    registry = load_registry(settings)
    stores = open_stores(
        settings.database_url,
        policies=access_policies(settings),
        default_agent=registry.default,
        agents=registry.names,
        version=VERSION,
        tenant_scope=settings.sessions.tenant,
        files=settings.data_dir / "files",
        queueing=replace(settings.inbound.rules, by_agent=registry.queues),
        abort_phrases=settings.inbound.abort_phrases,
        delivery=settings.delivery,
        progress_modes=progress_modes(settings),
        approvals=approval_rules(settings),
    )
    try:
        await _until_usable(stores)
        yield stores
    finally:
        await stores.close()


def progress_modes(settings: Settings) -> Mapping[tuple[str, str], Progress]:
    """Return what people see of work in progress where their chat chose nothing, by account."""
    return {(kind.channel, config.account): config.progress for kind, config in settings.accounts()}


async def _until_usable(stores: Stores) -> None:
    """Wait for the migration, which may start after this part."""
    deadline, is_told = time.monotonic() + STORAGE_WAIT_S, False
    while True:
        try:
            async with stores.database.read() as session:
                await session.execute(select(models.Conversation.id).limit(1))
            return
        except (DBAPIError, OSError) as error:
            if time.monotonic() > deadline:
                raise NotReachable(
                    f"The database has no tables or does not answer; `roost migrate` makes them: "
                    f"{str(error).splitlines()[0]}"
                ) from error
            if not is_told:
                is_told = True
                where, reason = stores.database.url.render_as_string(), str(error).splitlines()[0]
                log.warning(
                    "the database %s can't be used yet (%s); trying for %.0f s",
                    *(where, reason, STORAGE_WAIT_S),
                )
        await asyncio.sleep(STORAGE_RETRY_S)
