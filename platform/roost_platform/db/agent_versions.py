"""The versions of agents that workers have run with, by the hash of what is declared."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.base.insert import insert_missing
from roost_platform.db.base.text import clean
from roost_workflows.definitions.versions import DeclaredVersion


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One version of an agent. definition: see `definition_of`; times in seconds since the epoch.

    is_running: the worker that started last runs with it.
    """

    agent: str
    digest: str
    definition: dict[str, Any]
    first_seen_at: float
    last_seen_at: float
    is_running: bool


class AgentVersions:
    """Writes what a worker starts with."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, versions: Sequence[DeclaredVersion]) -> None:
        """Keep the versions of all agents of a worker that starts now."""
        async with self._database.write() as session:
            now = self._database.now()
            for version in sorted(versions, key=lambda one: (one.agent, one.digest)):
                key = (version.agent, version.digest)
                await insert_missing(
                    session,
                    models.AgentVersion,
                    agent=version.agent,
                    digest=version.digest,
                    definition=clean(version.definition),
                    first_seen_at=now,
                    last_seen_at=now,
                )
                row = await session.get_one(models.AgentVersion, key, with_for_update=True)
                row.last_seen_at = now


async def versions(session: AsyncSession, agent: str = "") -> Sequence[StoredVersion]:
    """The versions of an agent, or of all, by agent and newest first."""
    query = select(models.AgentVersion).order_by(
        models.AgentVersion.agent,
        models.AgentVersion.last_seen_at.desc(),
        models.AgentVersion.first_seen_at.desc(),
        models.AgentVersion.digest,
    )
    rows = (await session.scalars(query)).all()
    started_at = max((row.last_seen_at for row in rows), default=0.0)
    return [
        StoredVersion(
            row.agent,
            row.digest,
            row.definition,
            row.first_seen_at,
            row.last_seen_at,
            is_running=row.last_seen_at == started_at,
        )
        for row in rows
        if agent in ("", row.agent)
    ]
