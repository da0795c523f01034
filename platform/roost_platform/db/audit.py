"""The audit trail: who did what. Each row has the hash of the row before it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.base.text import clean

GENESIS = "0" * 64
LOCK = 7_305_826_132  # PostgreSQL's advisory lock that orders the chain
VERIFY_BATCH = 1000
PAGE_MAX = 200


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row of the trail."""

    id: int
    at: float
    actor: str
    action: str
    object: str
    detail: Mapping[str, Any]
    ip: str
    hash: str


class AuditTrail:
    """Writes and checks the trail."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(
        self,
        actor: str,
        action: str,
        object: str,
        detail: Mapping[str, Any] | None = None,
        ip: str = "",
    ) -> None:
        """Append one row; `detail` must be JSON."""
        async with self._database.write() as session:
            await audit(session, self._database.now(), actor, action, object, detail, ip)

    async def list(self, *, before_id: int | None = None, limit: int = 50) -> Sequence[AuditEntry]:
        """A page of rows, newest first; `before_id` is the last id of the page before."""
        query = select(models.Audit).order_by(models.Audit.id.desc())
        if before_id is not None:
            query = query.where(models.Audit.id < before_id)
        async with self._database.read() as session:
            rows = await session.scalars(query.limit(min(limit, PAGE_MAX)))
            return [
                AuditEntry(
                    row.id, row.at, row.actor, row.action, row.object, row.detail, row.ip, row.hash
                )
                for row in rows
            ]

    async def verify(self) -> str | None:
        """Check the chain from the first row; returns a sentence about the first break, or None."""
        last_id, expected = 0, GENESIS
        while True:
            async with self._database.read() as session:
                rows = (
                    await session.scalars(
                        select(models.Audit)
                        .where(models.Audit.id > last_id)
                        .order_by(models.Audit.id)
                        .limit(VERIFY_BATCH)
                    )
                ).all()
            if not rows:
                return None
            for row in rows:
                if row.prev_hash != expected or row.hash != chain_hash(row):
                    return f"Row {row.id} does not fit the chain: it or the one before changed."
                expected, last_id = row.hash, row.id


async def audit(
    session: AsyncSession,
    now: float,
    actor: str,
    action: str,
    object: str,
    detail: Mapping[str, Any] | None = None,
    ip: str = "",
) -> None:
    """Append a row in the caller's transaction, as its last step: it locks the chain."""
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
    last = await session.scalar(select(models.Audit.hash).order_by(models.Audit.id.desc()).limit(1))
    row = models.Audit(
        at=now,
        actor=clean(actor),
        action=action,
        object=clean(object),
        detail=clean(detail or {}),
        ip=ip,
        prev_hash=last or GENESIS,
    )
    row.hash = chain_hash(row)
    session.add(row)
    await session.flush()


def chain_hash(row: models.Audit) -> str:
    """SHA-256 over the previous hash and the row's canonical JSON."""
    fields = [row.at, row.actor, row.action, row.object, row.detail, row.ip]
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(f"{row.prev_hash}{canonical}".encode()).hexdigest()
