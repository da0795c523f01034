"""The statements that hold a call's most and settle what it used, built once.

Reserving is one UPDATE of the key's row. Its WHERE holds every bound, so that calls which come at
the same moment, in one process or in many, are counted one after another by the database.
"""

from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    Table,
    and_,
    bindparam,
    case,
    insert,
    literal,
    or_,
    update,
)

from roost_platform.db import models
from roost_platform.db.base.plain import PlainStatement

KEYS = cast(Table, models.GatewayKeyRow.__table__)
CALLS = cast(Table, models.GatewayCall.__table__)
K, C = KEYS.c, CALLS.c
COUNTS = (
    "status",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "saved_tokens",
    "cost_microusd",
)
CLOSED = ("outcome", "target", "error_code", "ttft_ms", "duration_ms")

now: ColumnElement[float] = bindparam("now")
cost: ColumnElement[int] = bindparam("cost")
tokens: ColumnElement[int] = bindparam("tokens")
_ends: ColumnElement[float] = bindparam("period_end")

_is_over = and_(K.period_ends.is_not(None), K.period_ends <= now)
_spent_microusd = case((_is_over, 0), else_=K.spent_microusd)
_spent_tokens = case((_is_over, 0), else_=K.spent_tokens)
_elapsed = case((K.levels_at > now, literal(0.0)), else_=now - K.levels_at)


def _level(level: ColumnElement[Any], a_minute: ColumnElement[Any]) -> ColumnElement[Any]:
    """A bucket's level now: it fills within a minute."""
    filled = level + _elapsed * a_minute / 60.0
    return case((filled > a_minute, a_minute), else_=filled)


request_level = _level(K.request_level, K.requests_per_minute)
token_level = _level(K.token_level, K.tokens_per_minute)

# Each bound by the name of what refuses; `why` reads them in this order.
ALIVE = and_(K.revoked_at.is_(None), or_(K.expires_at.is_(None), K.expires_at > now))
MONEY = or_(
    K.budget_microusd.is_(None),
    _spent_microusd + K.held_microusd + cost <= K.budget_microusd,
)
TOKENS = or_(K.budget_tokens.is_(None), _spent_tokens + K.held_tokens + tokens <= K.budget_tokens)
PARALLEL = or_(K.parallel.is_(None), K.in_flight < K.parallel)
REQUESTS_PER_MINUTE = or_(K.requests_per_minute.is_(None), request_level >= 1.0)
TOKENS_PER_MINUTE = or_(K.tokens_per_minute.is_(None), token_level >= tokens)

RESERVE = PlainStatement(
    update(KEYS)
    .where(
        K.id == bindparam("key"),
        *(ALIVE, MONEY, TOKENS, PARALLEL, REQUESTS_PER_MINUTE, TOKENS_PER_MINUTE),
    )
    .values(
        spent_microusd=_spent_microusd,
        spent_tokens=_spent_tokens,
        period_ends=case((_is_over, _ends), else_=K.period_ends),
        held_microusd=K.held_microusd + cost,
        held_tokens=K.held_tokens + tokens,
        in_flight=K.in_flight + 1,
        request_level=case((K.requests_per_minute.is_(None), 0.0), else_=request_level - 1.0),
        token_level=case((K.tokens_per_minute.is_(None), 0.0), else_=token_level - tokens),
        levels_at=now,
        used_at=now,
    )
)

OPEN = PlainStatement(
    insert(CALLS).values(
        id=bindparam("call"),
        key_id=bindparam("key"),
        owner=bindparam("owner"),
        family=bindparam("family"),
        model=bindparam("model"),
        agent=bindparam("agent"),
        session=bindparam("session_name"),
        person=bindparam("person"),
        started_at=now,
        held_microusd=cost,
        held_tokens=tokens,
        **{name: "" for name in ("target", "outcome", "error_code")},
        **{name: 0 for name in COUNTS},
        tries="[]",
    )
)

CLOSE = PlainStatement(
    update(CALLS)
    .where(C.id == bindparam("call"), C.outcome == "")
    .values(
        {name: bindparam(f"new_{name}") for name in (*CLOSED, *COUNTS)}
        | {"ended_at": now, "tries": bindparam("new_tries")}
    )
    .returning(C.key_id, C.held_microusd, C.held_tokens)
)

# A call that used less than it held gives the rest back to the bucket of this minute.
SETTLE = PlainStatement(
    update(KEYS)
    .where(K.id == bindparam("key"))
    .values(
        spent_microusd=_spent_microusd + cost,
        spent_tokens=_spent_tokens + tokens,
        period_ends=case((_is_over, _ends), else_=K.period_ends),
        held_microusd=K.held_microusd - bindparam("held_microusd"),
        held_tokens=K.held_tokens - bindparam("held_tokens"),
        in_flight=K.in_flight - 1,
        token_level=K.token_level + bindparam("held_tokens") - tokens,
    )
)
