"""Making, listing, rotating and revoking keys of the gateway."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.audit import audit
from roost_platform.db.base.engine import Database
from roost_platform.db.base.ids import new_id
from roost_platform.db.gateway.keys import secret_hash
from roost_platform.db.gateway.periods import PERIODS, period_end
from roost_platform.errors import NotAllowed, NotFound, Refused
from roost_platform.gateway.keys.ports import ANY_OF, KEY_PREFIX

KEYS_MAX = 10_000
SECRET_BYTES = 32
HINT_CHARACTERS = 4
NAME_CHARACTERS_MAX = 100
LISTED_MAX = 500
MODELS_MAX = 100
AMOUNT_MAX = 10**15
RATE_MAX = 10**9
MODEL_CHARACTERS_MAX = 200
GRACE_S_MAX = 30 * 86_400.0


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


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as operators see it, without its secret. state: active, expired or revoked."""

    id: str
    name: str
    hint: str
    state: str
    models: tuple[str, ...]
    compress: bool
    budget_microusd: int | None
    budget_tokens: int | None
    period: str
    period_ends: float | None
    spent_microusd: int
    spent_tokens: int
    held_microusd: int
    held_tokens: int
    requests_per_minute: int | None
    tokens_per_minute: int | None
    parallel: int | None
    in_flight: int
    created_at: float
    created_by: str
    used_at: float | None
    expires_at: float | None
    revoked_at: float | None


@dataclass(slots=True)
class KeyAdmin:
    """Keys as operators make them. A secret is told once and stored as a hash."""

    database: Database

    async def create(self, wanted: NewKey, operator: str, ip: str = "") -> tuple[str, str]:
        """Make a key; its id and its secret. Raises Refused, NotAllowed for a name in use."""
        secret, now = _new_secret(), self.database.now()
        _check(wanted, now)
        row = models.GatewayKeyRow(
            id=new_id(),
            name=clean_key_name(wanted.name),
            secret_hash=secret_hash(secret),
            old_secret_hash=None,
            old_secret_until=None,
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
                raise Refused(f"There are already {KEYS_MAX} keys.")
            taken = select(models.GatewayKeyRow.id).where(models.GatewayKeyRow.name == row.name)
            if await session.scalar(taken):
                raise NotAllowed(f"There is a key named {row.name!r} already.")
            session.add(row)
            await session.flush()
            await audit(session, now, operator, "key.create", row.id, {"name": row.name}, ip)
        return row.id, secret

    async def rows(self, skipped: int = 0) -> list[KeyRow]:
        """The keys, the newest first, at most LISTED_MAX after those that are skipped."""
        key = models.GatewayKeyRow
        order = (key.created_at.desc(), key.id.desc())
        async with self.database.read() as session:
            found = await session.scalars(
                select(key).order_by(*order).offset(skipped).limit(LISTED_MAX)
            )
            return [_shown(row, self.database.now()) for row in found]

    async def revoke(self, named: str, operator: str, ip: str = "") -> KeyRow:
        """Refuse the key from now on; calls that run go on. Raises NotFound."""
        async with self.database.write() as session:
            row, now = await _find(session, named), self.database.now()
            if row.revoked_at is None:
                row.revoked_at = now
                await session.flush()
                await audit(session, now, operator, "key.revoke", row.id, {"name": row.name}, ip)
            return _shown(row, now)

    async def rotate(
        self, named: str, operator: str, ip: str = "", grace_s: float = 0.0
    ) -> tuple[KeyRow, str]:
        """Give the key another secret. The old one is good for `grace_s` more, by default not at
        all; one from a rotation before ends in any case. Raises NotFound, Refused, and NotAllowed
        for a key that has been revoked.
        """
        if not 0 <= grace_s <= GRACE_S_MAX:
            raise Refused(f"The old secret can be good for {GRACE_S_MAX / 86_400:.0f} days more.")
        secret = _new_secret()
        async with self.database.write() as session:
            row, now = await _find(session, named), self.database.now()
            if row.revoked_at is not None:
                raise NotAllowed(f"The key {row.name!r} has been revoked.")
            row.old_secret_hash = row.secret_hash if grace_s else None
            row.old_secret_until = now + grace_s if grace_s else None
            row.secret_hash, row.hint = secret_hash(secret), secret[-HINT_CHARACTERS:]
            await session.flush()
            detail = {"name": row.name, "grace_s": grace_s}
            await audit(session, now, operator, "key.rotate", row.id, detail, ip)
            return _shown(row, now), secret


def _new_secret() -> str:
    return KEY_PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def clean_key_name(name: str) -> str:
    """The name with single spaces; raises Refused for one that no list can show."""
    name = " ".join(name.split())
    if not name or len(name) > NAME_CHARACTERS_MAX or not name.isprintable():
        raise Refused(f"A key needs a name of 1 to {NAME_CHARACTERS_MAX} characters.")
    return name


async def _find(session: AsyncSession, named: str) -> models.GatewayKeyRow:
    """The key of this id, else of this name, for a change of it."""
    key = models.GatewayKeyRow
    is_id = case((key.id == named, 0), else_=1)
    query = select(key).where(or_(key.id == named, key.name == " ".join(named.split())))
    row = await session.scalar(query.order_by(is_id).limit(1).with_for_update())
    if row is None:
        raise NotFound(f"There is no key {named[:NAME_CHARACTERS_MAX]!r}.")
    return row


def _check(wanted: NewKey, now: float) -> None:
    clean_key_name(wanted.name)
    if wanted.period not in PERIODS:
        raise Refused("A budget counts per day, per month, or for the whole life of the key.")
    if wanted.period and wanted.budget_microusd is None and wanted.budget_tokens is None:
        raise Refused("A period needs a budget, of money or of tokens.")
    if len(wanted.models) > MODELS_MAX:
        raise Refused(f"A key may name at most {MODELS_MAX} models.")
    for model in wanted.models:
        if not model or len(model) > MODEL_CHARACTERS_MAX or not model.isprintable():
            raise Refused(f"A model's name has 1 to {MODEL_CHARACTERS_MAX} characters.")
        provider = model.removesuffix(ANY_OF)
        if not provider or model != model.strip() or "*" in provider:
            raise Refused("A key may name models, or `provider/*` for all models of a provider.")
    if wanted.expires_at is not None and wanted.expires_at <= now:
        raise Refused("The time at which the key expires is over already.")
    amounts = {
        "budget": (wanted.budget_microusd, AMOUNT_MAX),
        "budget of tokens": (wanted.budget_tokens, AMOUNT_MAX),
        "number of requests a minute": (wanted.requests_per_minute, RATE_MAX),
        "number of tokens a minute": (wanted.tokens_per_minute, RATE_MAX),
        "number of parallel calls": (wanted.parallel, RATE_MAX),
    }
    for what, (amount, most) in amounts.items():
        if amount is not None and not 0 < amount <= most:
            raise Refused(f"The {what} has to be from 1 to {most}.")


def _shown(row: models.GatewayKeyRow, now: float) -> KeyRow:
    is_over = row.expires_at is not None and row.expires_at <= now
    state = "revoked" if row.revoked_at is not None else "expired" if is_over else "active"
    is_new_period = row.period_ends is not None and row.period_ends <= now
    values = {name: getattr(row, name) for name in KeyRow.__dataclass_fields__ if name != "state"}
    values |= {"models": tuple(row.models), "state": state}
    if is_new_period:
        values |= {"spent_microusd": 0, "spent_tokens": 0}
        values["period_ends"] = period_end(row.period, now)
    return KeyRow(**values)
