"""The book of alerts: opens, counts and resolves them, and says who is to be told of which."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.alerts.conditions import Condition
from roost_platform.alerts.rules import LASTS_S, sentence
from roost_platform.db import models
from roost_platform.db.base.ids import new_id
from roost_platform.db.base.plain import PlainConnection, PlainStatement

KEPT_MAX: Final = 1000  # resolved alerts; the oldest are let go of
NOTICES_MAX: Final = 10  # told by one look; the others wait for the next one

_OPEN = PlainStatement(select(models.Alert.id).where(models.Alert.state == "open").limit(1))


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell operators. number: how often this alert was told before."""

    alert_id: str
    number: int
    rule: str
    subject: str
    count: int
    is_resolved: bool
    opened_at: float
    at: float

    @property
    def text(self) -> str:
        """The notice in words: counts and codes, nothing that people wrote."""
        what = sentence(self.rule, self.count)
        if self.is_resolved:
            minutes = max(1, round((self.at - self.opened_at) / 60))
            return f"Roost: resolved after {minutes} min: {self.subject}: {what}."
        return f"Roost alert: {self.subject}: {what}."


def has_open(connection: PlainConnection) -> bool:
    """Whether the book has an alert that is not resolved."""
    return bool(_OPEN.run(connection, {}).all())


async def update(
    session: AsyncSession, found: Iterable[Condition], now: float, cool_down_s: float
) -> list[Notice]:
    """Bring the book up to date; returns what is to be told, already marked as told.

    The same subject is told at most once in `cool_down_s`, however often it comes and goes. Its end
    is told where its beginning was.
    """
    current = {condition.key: condition for condition in found}
    opened = {
        (row.rule, row.subject): row
        for row in await session.scalars(select(models.Alert).where(models.Alert.state == "open"))
    }
    notices: list[Notice] = []
    for key, condition in current.items():
        row = opened.get(key)
        if row is None:
            row = _opened(condition, now)
            session.add(row)
        row.count, row.seen_at = condition.count, now
        lasted = now - row.opened_at >= condition.lasts_s
        if not lasted or len(notices) >= NOTICES_MAX:
            continue
        if await _is_due(session, row, now - cool_down_s):
            notices.append(_tell(row, now))
    for key, row in opened.items():
        if key in current or now - row.seen_at < LASTS_S:
            continue
        row.state, row.resolved_at = "resolved", now
        if row.told_at is not None:
            notices.append(_tell(row, now))
    await session.flush()
    await _forget_old(session)
    return notices


def _opened(condition: Condition, now: float) -> models.Alert:
    return models.Alert(
        id=new_id(),
        rule=condition.rule,
        subject=condition.subject,
        count=condition.count,
        state="open",
        opened_at=now,
        seen_at=now,
        notices=0,
        delivery="",
    )


async def _is_due(session: AsyncSession, row: models.Alert, told_before: float) -> bool:
    """Whether nobody was told of this subject since then, in this alert or an earlier one."""
    if row.told_at is not None:
        return row.told_at <= told_before
    last = await session.scalar(
        select(func.max(models.Alert.told_at)).where(
            models.Alert.rule == row.rule, models.Alert.subject == row.subject
        )
    )
    return last is None or last <= told_before


def _tell(row: models.Alert, now: float) -> Notice:
    number, row.notices, row.told_at = row.notices, row.notices + 1, now
    return Notice(
        alert_id=row.id,
        number=number,
        rule=row.rule,
        subject=row.subject,
        count=row.count,
        is_resolved=row.state == "resolved",
        opened_at=row.opened_at,
        at=now,
    )


async def _forget_old(session: AsyncSession) -> None:
    newest = (
        select(models.Alert.id)
        .where(models.Alert.state == "resolved")
        .order_by(models.Alert.opened_at.desc())
        .offset(KEPT_MAX)
    )
    old: Sequence[str] = (await session.scalars(newest.limit(KEPT_MAX))).all()
    if old:
        await session.execute(delete(models.Alert).where(models.Alert.id.in_(old)))
