"""The audit trail: who did what. Each row has the hash of the row before it."""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.audit_seal import (
    ANCHOR_ID,
    GENESIS,
    AuditKey,
    advance,
    chain_hash,
    fault_of,
    seal_of,
)
from roost_platform.db.base.engine import Database
from roost_platform.db.base.text import clean

KEY = "audit_key"  # in the info of a session
LOCK = 7_305_826_132  # PostgreSQL's advisory lock that orders the chain
VERIFY_BATCH = 1000
PAGE_MAX = 200

# How the request at hand came in, such as "console" or "api": `via` in the detail of each row.
acting_through: ContextVar[str] = ContextVar("acting_through", default="")


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
        """Check the trail from its first row to its end; returns a sentence about the first fault,
        or None. Rows written meanwhile are checked, too."""
        key = use_key(self._database)
        async with self._database.read() as session:
            anchor = await session.get(models.AuditAnchor, ANCHOR_ID)
        if fault := fault_of(anchor, key):
            return fault
        assert anchor is not None
        last_id, expected, count, is_keyed = 0, GENESIS, 0, False
        while rows := await self._rows(last_id):
            for row in rows:
                fits = row.prev_hash == expected and row.hash == chain_hash(row, key)
                # A row without the key, behind one with it or behind the sealed end, was made by
                # somebody else.
                must_be_keyed = is_keyed or (bool(anchor.seal) and count >= anchor.length)
                if not fits or (must_be_keyed and not row.keyed):
                    return f"Row {row.id} does not fit the chain: it or the one before changed."
                expected, last_id, is_keyed = row.hash, row.id, row.keyed
                count += 1
                if count == anchor.length and row.hash != anchor.last_hash:
                    return f"Row {row.id} is not the one that the trail ended with."
        if count < anchor.length:
            return f"The end of the trail is missing: {anchor.length - count} rows were cut off."
        return None

    async def _rows(self, after_id: int) -> Sequence[models.Audit]:
        """The next rows of the trail."""
        query = select(models.Audit).where(models.Audit.id > after_id).order_by(models.Audit.id)
        async with self._database.read() as session:
            return (await session.scalars(query.limit(VERIFY_BATCH))).all()


def set_key(database: Database, key: AuditKey) -> None:
    """Have the database's transactions write keyed rows."""
    database.session_info[KEY] = key


def use_key(database: Database) -> AuditKey | None:
    """The key that the database's transactions write with."""
    return database.session_info.get(KEY)


async def seal(database: Database) -> None:
    """Seal a trail from before there was a key; one that is sealed stays as it is."""
    async with database.write() as session:
        await _lock(session)
        anchor = await session.get(models.AuditAnchor, ANCHOR_ID)
        key = use_key(database)
        if anchor is not None and key is not None and not anchor.seal:
            anchor.seal = seal_of(anchor, key)


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
    await _lock(session)
    key: AuditKey | None = session.info.get(KEY)
    anchor = await session.get(models.AuditAnchor, ANCHOR_ID)
    via = {"via": acting_through.get()} if acting_through.get() else {}
    row = models.Audit(
        at=now,
        actor=clean(actor),
        action=action,
        object=clean(object),
        detail={**clean(detail or {}), **via},
        ip=ip,
        prev_hash=anchor.last_hash if anchor else GENESIS,
        keyed=key is not None,
    )
    row.hash = chain_hash(row, key)
    session.add(row)
    if anchor is not None:
        advance(anchor, row.hash, key)
    await session.flush()


async def _lock(session: AsyncSession) -> None:
    """Keep other writers of the trail waiting; SQLite has one writer anyway."""
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
