"""The rules of the gateway: a target that does not answer, a budget that is nearly spent."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BindParameter, ColumnElement, and_, bindparam, or_, select

from roost_platform.alerts.conditions import Condition
from roost_platform.db import models
from roost_platform.db.base.plain import PlainConnection, PlainStatement

RECENT_S: Final = 600.0
LASTS_S: Final = 60.0  # from the first failure to the last one, at least
FAILURES: Final = 3  # in a row
CALLS_READ_MAX: Final = 2000  # the newest
KEYS_MAX: Final = 100
NEARLY: Final = 90  # percent of a budget
BUSY: Final = "busy"  # says nothing of the target: it has as many calls as it may have


def _nearly_spent(most: Any, spent: Any) -> ColumnElement[bool]:
    return and_(most.is_not(None), spent * 100 >= most * NEARLY)


_CALL, _KEY = models.GatewayCall, models.GatewayKeyRow
_now: BindParameter[float] = bindparam("now")
_ENDED_CALLS = PlainStatement(
    select(_CALL.started_at, _CALL.target, _CALL.outcome, _CALL.tries)
    .where(_CALL.started_at > bindparam("since"), _CALL.outcome != "", _CALL.outcome != "lost")
    .order_by(_CALL.started_at.desc())
    .limit(CALLS_READ_MAX)
)
_SPENT_KEYS = PlainStatement(
    select(
        *(_KEY.name, _KEY.budget_microusd, _KEY.spent_microusd),
        *(_KEY.budget_tokens, _KEY.spent_tokens),
    )
    .where(
        _KEY.revoked_at.is_(None),
        or_(_KEY.expires_at.is_(None), _KEY.expires_at > _now),
        or_(_KEY.period_ends.is_(None), _KEY.period_ends > _now),
        or_(
            _nearly_spent(_KEY.budget_microusd, _KEY.spent_microusd),
            _nearly_spent(_KEY.budget_tokens, _KEY.spent_tokens),
        ),
    )
    .order_by(_KEY.id)
    .limit(KEYS_MAX)
)


@dataclass(slots=True)
class _Streak:
    """Failures of one target since its last answer. first, last: seconds since the epoch."""

    failures: int
    first: float
    last: float
    is_over: bool = False


def gateway_conditions(connection: PlainConnection, now: float) -> list[Condition]:
    """All that is wrong now with targets and keys."""
    return [*_targets(connection, now), *_budgets(connection, now)]


def _targets(connection: PlainConnection, now: float) -> Iterator[Condition]:
    """Targets that were asked or passed over again and again, and answered nothing since."""
    streaks: dict[str, _Streak] = {}
    for call in _ENDED_CALLS.run(connection, {"since": now - RECENT_S}).all():
        at = call.started_at
        for name in {name for name, code in json.loads(call.tries) if code != BUSY}:
            streak = streaks.setdefault(name, _Streak(0, at, at))
            if not streak.is_over:
                streak.failures, streak.first = streak.failures + 1, at
        if call.target and call.outcome != "failed":
            streaks.setdefault(call.target, _Streak(0, at, at)).is_over = True
    for name, streak in streaks.items():
        if streak.failures >= FAILURES and streak.last - streak.first >= LASTS_S:
            yield Condition("target_failing", name, streak.failures)


def _budgets(connection: PlainConnection, now: float) -> Iterator[Condition]:
    """Keys in use whose budget of this period is nearly spent, by the larger part of both."""
    for row in _SPENT_KEYS.run(connection, {"now": now}).all():
        yield Condition("key_budget", f"key {row.name}", _percent(row))


def _percent(row: Any) -> int:
    pairs = (
        (row.budget_microusd, row.spent_microusd),
        (row.budget_tokens, row.spent_tokens),
    )
    return max(int(spent * 100 // most) for most, spent in pairs if most)
