"""The keys of the gateway in storage; see KeyStore."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import uuid4

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.base.plain import write_plain
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
    _known: dict[str, tuple[float, GatewayKey]] = field(default_factory=dict)
    _periods: dict[str, str] = field(default_factory=dict)

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
            self._periods.clear()
        self._known[hashed], self._periods[row.id] = (now, key), row.period
        return key

    async def reserve(self, wanted: Reservation) -> None:
        """Hold what a call may use; see KeyStore."""
        now = self.database.now()
        ends = period_end(self._periods.get(wanted.key_id, ""), now)
        values = {**self._opened(wanted), "now": now, "period_end": ends}

        def hold(connection: Connection) -> bool:
            if reserving.RESERVE.run(connection, values).rowcount == 0:
                return False
            reserving.OPEN.run(connection, values)
            return True

        if not await write_plain(self.database, hold):
            await self._refuse(values)

    async def record(self, wanted: Reservation, spent: Spent) -> None:
        """Keep the row of a call without a key; see CallLog."""
        now = self.database.now()
        values = {**self._opened(wanted), "now": now - spent.duration_ms / 1000}

        def write(connection: Connection) -> None:
            reserving.OPEN.run(connection, values)
            reserving.CLOSE.run(connection, _closed(spent, now)).close()

        await write_plain(self.database, write)

    async def settle(self, spent: Spent) -> None:
        """Replace what is held by what was used; see KeyStore."""
        now = self.database.now()

        def close(connection: Connection) -> None:
            call = reserving.CLOSE.run(connection, _closed(spent, now)).one_or_none()
            if call is None:
                return
            period = self._periods.get(call.key_id, "")
            used = {
                "key": call.key_id,
                "now": now,
                "period_end": period_end(period, now),
                "held_microusd": call.held_microusd,
                "held_tokens": call.held_tokens,
                "cost": spent.cost_microusd,
                "tokens": spent.input_tokens + spent.output_tokens,
            }
            reserving.SETTLE.run(connection, used)

        await write_plain(self.database, close)

    def _opened(self, wanted: Reservation) -> dict[str, Any]:
        return {
            "call": wanted.call_id,
            "key": wanted.key_id,
            "owner": self.owner,
            "family": wanted.family,
            "model": wanted.model,
            "agent": wanted.agent,
            "session_name": wanted.session,
            "person": wanted.person,
            "cost": wanted.cost_microusd,
            "tokens": wanted.tokens,
        }

    async def _refuse(self, bounds: Mapping[str, Any]) -> None:
        """Raise the error of the bound that does not hold."""
        row = models.GatewayKeyRow
        asked = select(
            row,
            reserving.MONEY.label("money"),
            reserving.TOKENS.label("tokens"),
            reserving.PARALLEL.label("parallel"),
            func.coalesce(reserving.request_level, 1.0).label("requests_left"),
            func.coalesce(reserving.token_level, 0.0).label("tokens_left"),
        ).where(row.id == bounds["key"])
        async with self.database.read() as session:
            held = (await session.execute(asked, bounds)).one_or_none()
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


def _refuse_dead(row: models.GatewayKeyRow, now: float) -> None:
    if row.revoked_at is not None:
        raise KeyRevoked(f"The key {row.name!r} has been revoked")
    if row.expires_at is not None and row.expires_at <= now:
        raise KeyExpired(f"The key {row.name!r} has expired")


def _closed(spent: Spent, now: float) -> dict[str, Any]:
    names = (*reserving.CLOSED, *reserving.COUNTS)
    values = {f"new_{name}": getattr(spent, name) for name in names}
    return {"call": spent.call_id, "now": now, "new_tries": json.dumps(spent.tries), **values}
