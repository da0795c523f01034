"""Heartbeats of the running parts, for the health strip and `roost status`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.base.insert import insert_missing
from roost_platform.db.base.text import clean

STALE_S = 10.0  # a part that has not beaten for this long counts as down


def is_alive(seen_at: float, now: float) -> bool:
    """Whether a part that last beat at `seen_at` counts as running."""
    return now - seen_at <= STALE_S


@dataclass(frozen=True, slots=True)
class Service:
    """One part as its last heartbeat described it."""

    service: str
    pid: int
    version: str
    started_at: float
    seen_at: float
    detail: Mapping[str, Any]
    is_alive: bool


class Heartbeats:
    """One row for each part, overwritten by every beat. `version` is the installed one."""

    def __init__(self, database: Database, version: str = "") -> None:
        self._database = database
        self._version = version
        self._started_at = database.now()

    async def beat(self, service: str, detail: Mapping[str, Any] | None = None) -> None:
        """Record that the part `service` runs now."""
        now = self._database.now()
        async with self._database.write() as session:
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
        """Every part that ever beat, by name."""
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
