"""The rules of the gateway: a target that does not answer, a budget that is nearly spent."""

import json
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.alerts.conditions import Condition
from roost_platform.db import models

RECENT_S: Final = 600.0
LASTS_S: Final = 60.0  # from the first failure to the last one, at least
FAILURES: Final = 3  # in a row
CALLS_READ_MAX: Final = 2000  # the newest
KEYS_MAX: Final = 100
NEARLY: Final = 90  # percent of a budget
BUSY: Final = "busy"  # says nothing of the target: it has as many calls as it may have


@dataclass(slots=True)
class _Streak:
    """Failures of one target since its last answer. first, last: seconds since the epoch."""

    failures: int
    first: float
    last: float
    is_over: bool = False


async def gateway_conditions(session: AsyncSession, now: float) -> list[Condition]:
    """All that is wrong now with targets and keys."""
    return [*await _targets(session, now), *await _budgets(session, now)]


async def _targets(session: AsyncSession, now: float) -> list[Condition]:
    """Targets that were asked or passed over again and again, and answered nothing since."""
    call = models.GatewayCall
    newest = await session.execute(
        select(call.started_at, call.target, call.outcome, call.tries)
        .where(call.started_at > now - RECENT_S, call.outcome.not_in(("", "lost")))
        .order_by(call.started_at.desc())
        .limit(CALLS_READ_MAX)
    )
    streaks: dict[str, _Streak] = {}
    for at, target, outcome, tries in newest.all():
        failed = {name for name, code in json.loads(tries) if code != BUSY}
        for name in failed:
            streak = streaks.setdefault(name, _Streak(0, at, at))
            if not streak.is_over:
                streak.failures, streak.first = streak.failures + 1, at
        if target and outcome != "failed":
            streaks.setdefault(target, _Streak(0, at, at)).is_over = True
    return [
        Condition("target_failing", name, streak.failures)
        for name, streak in streaks.items()
        if streak.failures >= FAILURES and streak.last - streak.first >= LASTS_S
    ]


async def _budgets(session: AsyncSession, now: float) -> list[Condition]:
    """Keys in use whose budget of this period is nearly spent, by the larger part of both."""
    key = models.GatewayKeyRow
    rows = await session.scalars(
        select(key)
        .where(
            key.revoked_at.is_(None),
            or_(key.expires_at.is_(None), key.expires_at > now),
            or_(key.period_ends.is_(None), key.period_ends > now),
            or_(
                _nearly_spent(key.budget_microusd, key.spent_microusd),
                _nearly_spent(key.budget_tokens, key.spent_tokens),
            ),
        )
        .order_by(key.id)
        .limit(KEYS_MAX)
    )
    return [Condition("key_budget", f"key {row.name}", _percent(row)) for row in rows]


def _nearly_spent(most: Any, spent: Any) -> ColumnElement[bool]:
    return and_(most.is_not(None), spent * 100 >= most * NEARLY)


def _percent(row: models.GatewayKeyRow) -> int:
    pairs = (
        (row.budget_microusd, row.spent_microusd),
        (row.budget_tokens, row.spent_tokens),
    )
    return max(spent * 100 // most for most, spent in pairs if most)
