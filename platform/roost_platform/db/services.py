"""Heartbeats of the running processes, and the one rule by which a process counts as alive."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select, update

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.base.insert import insert_missing
from roost_platform.db.base.plain import PlainConnection, PlainStatement, write_plain
from roost_platform.db.base.text import clean
from roost_platform.rhythm import BEAT_S

HEARTBEAT_S = BEAT_S  # how often each process beats
ALIVE_S = 3 * HEARTBEAT_S  # a process that has not beaten for this long counts as down

_TOLD = ("pid", "version", "started_at", "seen_at", "detail")
_BEAT = PlainStatement(
    update(models.ServiceHeartbeat)
    .where(models.ServiceHeartbeat.service == bindparam("of"))
    .values({name: bindparam(f"new_{name}") for name in _TOLD})
)


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
        row = {
            "pid": os.getpid(),
            "version": self._version,
            "started_at": self._started_at,
            "seen_at": self._database.now(),
            "detail": clean(detail or {}),
        }
        values = {f"new_{name}": value for name, value in row.items()}
        values |= {"of": service, "new_detail": json.dumps(row["detail"])}

        def overwrite(connection: PlainConnection) -> bool:
            return _BEAT.run(connection, values).rowcount > 0

        if not await write_plain(self._database, overwrite):
            async with self._database.write(is_news=False) as session:
                await insert_missing(session, models.ServiceHeartbeat, service=service, **row)

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
