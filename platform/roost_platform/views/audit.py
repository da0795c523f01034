"""The audit log, newest first."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.views.pagination import PAGE_SIZE, like

DETAIL_LENGTH_MAX = 300


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One entry; detail is JSON text, hash the start of its link in the chain."""

    id: int
    at: float
    actor: str
    action: str
    object: str
    detail: str
    ip: str
    hash: str


async def audit(session: AsyncSession, text: str, page: int) -> tuple[int, tuple[AuditRow, ...]]:
    """The number of entries that match, and one page of them, newest first."""
    statement: Select[Any] = select(models.Audit)
    if text:
        pattern = like(text)
        columns = (models.Audit.actor, models.Audit.action, models.Audit.object)
        statement = statement.where(or_(*(c.ilike(pattern, escape="\\") for c in columns)))
    total = await session.scalar(
        select(func.count()).select_from(statement.with_only_columns(models.Audit.id).subquery())
    )
    rows = await session.scalars(
        statement.order_by(models.Audit.id.desc()).limit(PAGE_SIZE).offset((page - 1) * PAGE_SIZE)
    )
    return total or 0, tuple(
        AuditRow(
            id=r.id,
            at=r.at,
            actor=r.actor,
            action=r.action,
            object=r.object,
            detail=json.dumps(r.detail, ensure_ascii=False)[:DETAIL_LENGTH_MAX] if r.detail else "",
            ip=r.ip,
            hash=r.hash[:12],
        )
        for r in rows
    )
