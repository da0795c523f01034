"""Alerts as the Alerts page shows them: those that are open, and their history."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.alerts.rules import sentence
from roost_platform.db import models
from roost_platform.views.pagination import PAGE_SIZE

OPEN_SHOWN_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class AlertRow:
    """One alert. delivery: how its last notice went; told_at None: nobody was told of it."""

    id: str
    rule: str
    subject: str
    words: str
    count: int
    is_open: bool
    opened_at: float
    resolved_at: float | None
    told_at: float | None
    notices: int
    delivery: str


async def open_alerts(session: AsyncSession) -> tuple[AlertRow, ...]:
    """What is wrong now, the newest first."""
    rows = await session.scalars(
        select(models.Alert)
        .where(models.Alert.state == "open")
        .order_by(models.Alert.opened_at.desc())
        .limit(OPEN_SHOWN_MAX)
    )
    return tuple(map(_row, rows))


async def resolved_alerts(session: AsyncSession, page: int) -> tuple[int, tuple[AlertRow, ...]]:
    """How many alerts are over, and one page of them, the newest first."""
    resolved = models.Alert.state == "resolved"
    count = await session.scalar(select(func.count()).select_from(models.Alert).where(resolved))
    rows = await session.scalars(
        select(models.Alert)
        .where(resolved)
        .order_by(models.Alert.opened_at.desc())
        .limit(PAGE_SIZE)
        .offset((page - 1) * PAGE_SIZE)
    )
    return count or 0, tuple(map(_row, rows))


def _row(row: models.Alert) -> AlertRow:
    return AlertRow(
        id=row.id,
        rule=row.rule,
        subject=row.subject,
        words=sentence(row.rule, row.count),
        count=row.count,
        is_open=row.state == "open",
        opened_at=row.opened_at,
        resolved_at=row.resolved_at,
        told_at=row.told_at,
        notices=row.notices,
        delivery=row.delivery,
    )
