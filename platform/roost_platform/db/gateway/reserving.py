"""The statements that hold a call's most and settle what it used, built once.

Reserving is one UPDATE of the key's row. Its WHERE holds every bound, so that calls which come at
the same moment, in one process or in many, are counted one after another by the database.
"""

from typing import Any, Final, cast

from sqlalchemy import (
    ColumnElement,
    Table,
    and_,
    bindparam,
    case,
    insert,
    literal,
    or_,
    select,
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
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "saved_tokens",
    "cost_microusd",
)
CLOSED = ("outcome", "target", "error_code", "ttft_ms", "duration_ms")

# A time of a bucket that lies further ahead is a clock that was put back; less is two processes,
# of which the later one came first.
CLOCKS_DIFFER_S: Final = 60.0
# A bucket that has just filled is short by what a double cannot hold.
ROUNDING: Final = 1e-6

now: ColumnElement[float] = bindparam("now")
cost: ColumnElement[int] = bindparam("cost")
tokens: ColumnElement[int] = bindparam("tokens")
secret: ColumnElement[str] = bindparam("secret")


def _of_period(day: str, month: str) -> ColumnElement[Any]:
    return case((K.period == "day", bindparam(day)), (K.period == "month", bindparam(month)))


_is_over = and_(K.period_ends.is_not(None), K.period_ends <= now)
_spent_microusd = case((_is_over, 0), else_=K.spent_microusd)
_spent_tokens = case((_is_over, 0), else_=K.spent_tokens)
# A period that ends after the next one was begun by a clock far ahead. It ends with the present
# one, and what was spent stays: a clock that goes back gives nobody a second budget.
_period_ends = case(
    (
        or_(_is_over, K.period_ends > _of_period("next_day_end", "next_month_end")),
        _of_period("day_end", "month_end"),
    ),
    else_=K.period_ends,
)
_elapsed = case((K.levels_at > now, literal(0.0)), else_=now - K.levels_at)
_levels_at = case(
    (and_(K.levels_at > now, K.levels_at < now + CLOCKS_DIFFER_S), K.levels_at), else_=now
)


def _level(level: ColumnElement[Any], a_minute: ColumnElement[Any]) -> ColumnElement[Any]:
    """A bucket's level now: it fills within a minute."""
    filled = level + _elapsed * a_minute / 60.0
    return case((filled > a_minute, a_minute), else_=filled)


def _of_bucket(amount: ColumnElement[Any]) -> ColumnElement[Any]:
    """What a call takes from the bucket of tokens: a large one waits for a full bucket, and what it
    uses beyond that is a debt which later calls wait for.
    """
    return case((amount > K.tokens_per_minute, K.tokens_per_minute), else_=amount)


request_level = _level(K.request_level, K.requests_per_minute)
token_level = _level(K.token_level, K.tokens_per_minute)
bucket_tokens = _of_bucket(tokens)

# Each bound by the name of what refuses; `why` reads them in this order.
IS_ITS_SECRET = or_(
    secret == "",
    K.secret_hash == secret,
    and_(K.old_secret_hash == secret, K.old_secret_until > now),
)
ALIVE = and_(K.revoked_at.is_(None), or_(K.expires_at.is_(None), K.expires_at > now))
MONEY = or_(
    K.budget_microusd.is_(None),
    _spent_microusd + K.held_microusd + cost <= K.budget_microusd,
)
TOKENS = or_(K.budget_tokens.is_(None), _spent_tokens + K.held_tokens + tokens <= K.budget_tokens)
PARALLEL = or_(K.parallel.is_(None), K.in_flight < K.parallel)
REQUESTS_PER_MINUTE = or_(K.requests_per_minute.is_(None), request_level >= 1.0 - ROUNDING)
TOKENS_PER_MINUTE = or_(K.tokens_per_minute.is_(None), token_level >= bucket_tokens - ROUNDING)

# The key of a secret; secrets have so many bits that no two rows have the same one.
FIND = PlainStatement(
    select(
        *(K.id, K.name, K.models, K.salt, K.compress, K.budget_microusd, K.budget_tokens),
        *(K.revoked_at, K.expires_at),
    ).where(
        or_(
            K.secret_hash == secret,
            and_(K.old_secret_hash == secret, K.old_secret_until > now),
        )
    )
)

RESERVE = PlainStatement(
    update(KEYS)
    .where(
        K.id == bindparam("key"),
        *(IS_ITS_SECRET, ALIVE, MONEY, TOKENS, PARALLEL, REQUESTS_PER_MINUTE, TOKENS_PER_MINUTE),
    )
    .values(
        spent_microusd=_spent_microusd,
        spent_tokens=_spent_tokens,
        period_ends=_period_ends,
        held_microusd=K.held_microusd + cost,
        held_tokens=K.held_tokens + tokens,
        in_flight=K.in_flight + 1,
        request_level=case((K.requests_per_minute.is_(None), 0.0), else_=request_level - 1.0),
        token_level=case((K.tokens_per_minute.is_(None), 0.0), else_=token_level - bucket_tokens),
        levels_at=_levels_at,
        used_at=now,
    )
)

# A refused call writes nothing, so a clock that was put back would leave the buckets as they are.
RESTART_BUCKETS = PlainStatement(
    update(KEYS)
    .where(K.id == bindparam("key"), K.levels_at >= now + CLOCKS_DIFFER_S)
    .values(levels_at=now)
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
        calls=bindparam("calls"),
        held_microusd=cost,
        held_tokens=tokens,
        **{name: "" for name in ("target", "outcome", "error_code")},
        **{name: 0 for name in COUNTS},
        tries="[]",
    )
)

_closing: dict[str, Any] = {name: bindparam(f"new_{name}") for name in (*CLOSED, *COUNTS)} | {
    "ended_at": now,
    "tries": bindparam("new_tries"),
}
_of_call = C.id == bindparam("call")

CLOSE = PlainStatement(
    update(CALLS)
    .where(_of_call, C.outcome == "")
    .values(_closing)
    .returning(C.key_id, C.held_microusd, C.held_tokens)
)

# A process that was taken for dead, such as a machine that slept, settles what it used after all;
# what the call held is released already.
AMEND = PlainStatement(
    update(CALLS).where(_of_call, C.outcome == "lost").values(_closing).returning(C.key_id)
)

# Calls whose process has gone, or has forgotten them: nothing is billed.
_some = select(C.id).where(C.outcome == "", C.owner == bindparam("owner")).limit(bindparam("most"))
_lost = {"outcome": "lost", "error_code": "process_gone", "status": 500, "ended_at": now}
LOSE_SOME = PlainStatement(
    update(CALLS)
    .where(C.id.in_(_some.scalar_subquery()), C.outcome == "")
    .values(_lost)
    .returning(C.key_id, C.held_microusd, C.held_tokens)
)
LOSE_ONE = PlainStatement(
    update(CALLS)
    .where(_of_call, C.outcome == "")
    .values(_lost)
    .returning(C.key_id, C.held_microusd, C.held_tokens)
)

# A call that used less than it held gives the rest back to the bucket of this minute.
SETTLE = PlainStatement(
    update(KEYS)
    .where(K.id == bindparam("key"))
    .values(
        spent_microusd=_spent_microusd + cost,
        spent_tokens=_spent_tokens + tokens,
        period_ends=_period_ends,
        held_microusd=K.held_microusd - bindparam("held_microusd"),
        held_tokens=K.held_tokens - bindparam("held_tokens"),
        in_flight=K.in_flight - bindparam("ended"),
        token_level=K.token_level + _of_bucket(bindparam("held_tokens")) - tokens,
    )
)
