"""Heartbeats of the running processes, and the one rule by which a process counts as alive."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.base.insert import insert_missing
from roost_platform.db.base.text import clean
from roost_platform.rhythm import BEAT_S

HEARTBEAT_S = BEAT_S  # how often each process beats
ALIVE_S = 3 * HEARTBEAT_S  # a process that has not beaten for this long counts as down


@dataclass(frozen=True, slots=True)
class Service:
    """One process as its last heartbeat describes it."""

    service: str
    pid: int
    version: str
    started_at: float
    seen_at: float
    detail: Mapping[str, Any]
    is_alive: bool


def is_alive(seen_at: float, now: float) -> bool:
    """Whether a process that last beat at `seen_at` counts as alive; both in seconds."""
    return now - seen_at <= ALIVE_S


class Heartbeats:
    """One row for each process, overwritten by each beat. `version` is the installed one."""

    def __init__(self, database: Database, version: str = "") -> None:
        self._database = database
        self._version = version
        self._started_at = database.now()

    async def beat(self, service: str, detail: Mapping[str, Any] | None = None) -> None:
        """Record that the process `service` is alive now."""
        now = self._database.now()
        async with self._database.write(is_news=False) as session:
            await insert_missing(
                session,
                models.ServiceHeartbeat,
                service=service,
                pid=os.getpid(),
                version=self._version,
                started_at=self._started_at,
                seen_at=now,
                detail={},
            )
            row = await session.get_one(models.ServiceHeartbeat, service, with_for_update=True)
            row.pid, row.version = os.getpid(), self._version
            row.started_at, row.seen_at = self._started_at, now
            row.detail = clean(detail or {})

    async def all(self) -> Sequence[Service]:
        """Every process that ever beat, by name."""
        now = self._database.now()
        async with self._database.read() as session:
            rows = await session.scalars(
                select(models.ServiceHeartbeat).order_by(models.ServiceHeartbeat.service)
            )
            return [
                Service(
                    row.service,
                    row.pid,
                    row.version,
                    row.started_at,
                    row.seen_at,
                    row.detail,
                    is_alive=is_alive(row.seen_at, now),
                )
                for row in rows
            ]
