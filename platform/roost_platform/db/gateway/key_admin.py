"""Making, listing, rotating and revoking keys of the gateway."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.base.ids import new_id
from roost_platform.db.gateway.keys import secret_hash
from roost_platform.db.gateway.periods import PERIODS, period_end
from roost_platform.errors import Refused
from roost_platform.gateway.keys.ports import KEY_PREFIX

KEYS_MAX = 10_000
SECRET_BYTES = 32
HINT_CHARACTERS = 4


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a key may do; None is no bound. expires_at: seconds since the epoch."""

    name: str
    models: Sequence[str] = ()
    budget_microusd: int | None = None
    budget_tokens: int | None = None
    period: str = ""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    parallel: int | None = None
    expires_at: float | None = None
    compress: bool = False


@dataclass(slots=True)
class KeyAdmin:
    """Keys as operators make them. A secret is told once and stored as a hash."""

    database: Database

    async def create(self, wanted: NewKey, operator: str) -> tuple[str, str]:
        """Make a key; its id and its secret."""
        if wanted.period not in PERIODS:
            raise Refused("A budget counts per day, per month, or for the whole life of the key.")
        secret = KEY_PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        now = self.database.now()
        row = models.GatewayKeyRow(
            id=new_id(),
            name=wanted.name,
            secret_hash=secret_hash(secret),
            hint=secret[-HINT_CHARACTERS:],
            salt=secrets.token_hex(16),
            models=list(wanted.models),
            compress=wanted.compress,
            budget_microusd=wanted.budget_microusd,
            budget_tokens=wanted.budget_tokens,
            period=wanted.period,
            period_ends=period_end(wanted.period, now),
            requests_per_minute=wanted.requests_per_minute,
            tokens_per_minute=wanted.tokens_per_minute,
            request_level=float(wanted.requests_per_minute or 0),
            token_level=float(wanted.tokens_per_minute or 0),
            levels_at=now,
            parallel=wanted.parallel,
            created_at=now,
            created_by=operator,
            used_at=None,
            expires_at=wanted.expires_at,
            revoked_at=None,
        )
        async with self.database.write() as session:
            count = await session.scalar(select(func.count()).select_from(models.GatewayKeyRow))
            if (count or 0) >= KEYS_MAX:
                raise Refused(f"There are already {KEYS_MAX} keys; delete one first.")
            session.add(row)
        return row.id, secret
