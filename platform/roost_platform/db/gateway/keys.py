"""The keys of the gateway in storage; see KeyStore."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import uuid4

from sqlalchemy import CursorResult, func, select

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.gateway import reserving
from roost_platform.db.gateway.periods import period_end
from roost_platform.gateway.errors import (
    BudgetExhausted,
    KeyExpired,
    KeyRevoked,
    RateLimited,
    Unauthorized,
)
from roost_platform.gateway.keys.ports import GatewayKey, Reservation, Spent

FRESH_S = 1.0  # how long a key that was read is believed; `reserve` asks again in any case
KNOWN_MAX = 10_000


def secret_hash(secret: str) -> str:
    """The hash that is stored. Secrets have 256 random bits, so one round is enough."""
    return sha256(secret.encode()).hexdigest()


@dataclass(slots=True)
class GatewayKeys:
    """Keys over one database. owner: names this process in the rows of its calls."""

    database: Database
    owner: str = field(default_factory=lambda: uuid4().hex)
    _known: dict[str, tuple[float, GatewayKey, str]] = field(default_factory=dict)

    async def find(self, secret: str) -> GatewayKey:
        """The key of this secret; see KeyStore."""
        if not secret:
            raise Unauthorized("Send a key of this gateway as `Authorization: Bearer KEY`")
        hashed = secret_hash(secret)
        now = self.database.now()
        if (known := self._known.get(hashed)) and 0 <= now - known[0] < FRESH_S:
            return known[1]
        async with self.database.read() as session:
            row = await session.scalar(
                select(models.GatewayKeyRow).where(models.GatewayKeyRow.secret_hash == hashed)
            )
        if row is None:
            raise Unauthorized("This key is not known here")
        _refuse_dead(row, now)
        key = GatewayKey(
            id=row.id,
            name=row.name,
            models=tuple(row.models),
            salt=row.salt,
            compress=row.compress,
            has_budget=row.budget_microusd is not None or row.budget_tokens is not None,
        )
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        self._known[hashed] = (now, key, row.period)
        return key

    async def reserve(self, wanted: Reservation) -> None:
        """Hold what a call may use; see KeyStore."""
        now = self.database.now()
        bounds = {
            "key": wanted.key_id,
            "now": now,
            "cost": wanted.cost_microusd,
            "tokens": wanted.tokens,
        }
        async with self.database.write(is_news=False) as session:
            period = await self._period(wanted.key_id, session)
            held = await session.execute(
                reserving.RESERVE, {**bounds, "period_end": period_end(period, now)}
            )
            if isinstance(held, CursorResult) and not held.rowcount:
                await self._refuse(session, bounds)
            await session.execute(reserving.OPEN, self._opened(wanted, now))

    async def settle(self, spent: Spent) -> None:
        """Replace what is held by what was used; see KeyStore."""
        now = self.database.now()
        async with self.database.write(is_news=False) as session:
            closed = await session.execute(
                reserving.CLOSE.values(_closed(spent, now)), {"call": spent.call_id}
            )
            call = closed.one_or_none()
            if call is None:
                return
            period = await self._period(call.key_id, session)
            await session.execute(
                reserving.SETTLE,
                {
                    "key": call.key_id,
                    "now": now,
                    "period_end": period_end(period, now),
                    "held_microusd": call.held_microusd,
                    "held_tokens": call.held_tokens,
                    "cost": spent.cost_microusd,
                    "tokens": spent.input_tokens + spent.output_tokens,
                },
            )

    async def _period(self, key_id: str, session: Any) -> str:
        for _, key, period in self._known.values():
            if key.id == key_id:
                return period
        found = await session.scalar(
            select(models.GatewayKeyRow.period).where(models.GatewayKeyRow.id == key_id)
        )
        return found or ""

    async def _refuse(self, session: Any, bounds: Mapping[str, Any]) -> None:
        """Raise the error of the bound that does not hold."""
        row = models.GatewayKeyRow
        held = (
            await session.execute(
                select(
                    row,
                    reserving.MONEY.label("money"),
                    reserving.TOKENS.label("tokens"),
                    reserving.PARALLEL.label("parallel"),
                    func.coalesce(reserving.request_level, 1.0).label("requests_left"),
                    func.coalesce(reserving.token_level, 0.0).label("tokens_left"),
                ).where(row.id == bounds["key"]),
                bounds,
            )
        ).one_or_none()
        if held is None:
            raise Unauthorized("This key is not known here")
        key: models.GatewayKeyRow = held[0]
        now = bounds["now"]
        _refuse_dead(key, now)
        if not held.money or not held.tokens:
            ends = key.period_ends
            wait_s = None if ends is None else max(1.0, ends - now)
            what = "money" if not held.money else "tokens"
            raise BudgetExhausted(
                f"The budget of this key does not cover the {what} of this call",
                retry_after_s=wait_s,
            )
        if not held.parallel:
            raise RateLimited(f"This key has {key.parallel} calls in progress already")
        if key.requests_per_minute is not None and held.requests_left < 1:
            wait_s = (1 - held.requests_left) * 60 / key.requests_per_minute
            raise RateLimited(
                f"This key may make {key.requests_per_minute} requests a minute",
                retry_after_s=math.ceil(wait_s),
            )
        most = key.tokens_per_minute or 1
        wait_s = max(1.0, (bounds["tokens"] - held.tokens_left) * 60 / most)
        raise RateLimited(
            f"This key may use {most} tokens a minute", retry_after_s=math.ceil(wait_s)
        )

    def _opened(self, wanted: Reservation, now: float) -> Mapping[str, Any]:
        return {
            "id": wanted.call_id,
            "key_id": wanted.key_id,
            "owner": self.owner,
            "family": wanted.family,
            "model": wanted.model,
            "session": wanted.session,
            "person": wanted.person,
            "started_at": now,
            "held_microusd": wanted.cost_microusd,
            "held_tokens": wanted.tokens,
            "tries": [],
        }


def _refuse_dead(row: models.GatewayKeyRow, now: float) -> None:
    if row.revoked_at is not None:
        raise KeyRevoked(f"The key {row.name!r} has been revoked")
    if row.expires_at is not None and row.expires_at <= now:
        raise KeyExpired(f"The key {row.name!r} has expired")


def _closed(spent: Spent, now: float) -> Mapping[str, Any]:
    return {
        "outcome": spent.outcome,
        "status": spent.status,
        "target": spent.target,
        "error_code": spent.error_code,
        "ended_at": now,
        "input_tokens": spent.input_tokens,
        "cached_tokens": spent.cached_tokens,
        "output_tokens": spent.output_tokens,
        "reasoning_tokens": spent.reasoning_tokens,
        "cost_microusd": spent.cost_microusd,
        "ttft_ms": spent.ttft_ms,
        "duration_ms": spent.duration_ms,
        "tries": [list(one) for one in spent.tries],
    }
