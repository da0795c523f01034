"""API tokens for programs: shown once, stored as a hash, with a role; revoked by their key."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, update

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.waits.own_requests import TOKEN_ADDRESS
from roost_platform.errors import NotFound, Refused
from roost_platform.identity.accounts import clean_name
from roost_platform.identity.passwords import new_token, token_hash
from roost_platform.identity.roles import Principal, Role, parse_role

TOKEN_PREFIX = "roost_"  # secret scanners recognise tokens by it
TOKENS_MAX = 200
USED_INTERVAL_S = 60.0  # how often a request notes the token's use; each is a write
KEY_LENGTH = 16


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One API token in the list. `key` is the start of its hash; the token itself is not stored."""

    key: str
    name: str
    role: str
    created_at: float
    used_at: float | None
    revoked_at: float | None


@dataclass(slots=True)
class Tokens:
    """Bearer tokens of the API. `clock` gives seconds since the epoch."""

    database: Database
    clock: Callable[[], float]

    async def create(self, name: str, role: Role) -> str:
        """Make a token; it is shown this once."""
        token = TOKEN_PREFIX + new_token()
        await self.register(token, name, role)
        return token

    async def register(self, token: str, name: str, role: Role) -> None:
        """Make this token valid, as for the local token file; one that is valid already is fine."""
        digest = token_hash(token)
        async with self.database.write() as session:
            if await session.get(models.ApiToken, digest) is not None:
                return
            count = await session.scalar(
                select(func.count())
                .select_from(models.ApiToken)
                .where(models.ApiToken.revoked_at.is_(None))
            )
            if (count or 0) >= TOKENS_MAX:
                raise Refused(f"There are already {TOKENS_MAX} tokens; revoke one first.")
            session.add(
                models.ApiToken(
                    token_hash=digest,
                    name=clean_name(name),
                    role=role.name,
                    created_at=self.clock(),
                    used_at=None,
                    revoked_at=None,
                )
            )

    async def find(self, token: str) -> Principal | None:
        """Whom a bearer token stands for, or None when it is unknown or revoked."""
        digest, now = token_hash(token), self.clock()
        async with self.database.read() as session:
            row = await session.get(models.ApiToken, digest)
        if row is None or row.revoked_at is not None:
            return None
        if row.used_at is None or now - row.used_at > USED_INTERVAL_S:
            async with self.database.write() as session:
                await session.execute(
                    update(models.ApiToken)
                    .where(models.ApiToken.token_hash == digest)
                    .values(used_at=now)
                )
        return Principal(f"{TOKEN_ADDRESS}{digest[:KEY_LENGTH]}", row.name, parse_role(row.role))

    async def list(self) -> Sequence[TokenRow]:
        """All tokens, the newest first, also revoked ones."""
        async with self.database.read() as session:
            rows = await session.scalars(
                select(models.ApiToken)
                .order_by(models.ApiToken.created_at.desc())
                .limit(2 * TOKENS_MAX)
            )
            return tuple(
                TokenRow(
                    r.token_hash[:KEY_LENGTH],
                    r.name,
                    r.role,
                    r.created_at,
                    r.used_at,
                    r.revoked_at,
                )
                for r in rows
            )

    async def revoke(self, key: str) -> str:
        """End a token by its key; returns its name."""
        async with self.database.write() as session:
            row = await session.scalar(
                select(models.ApiToken).where(
                    func.substr(models.ApiToken.token_hash, 1, KEY_LENGTH) == key,
                    models.ApiToken.revoked_at.is_(None),
                )
            )
            if row is None:
                raise NotFound("There is no such token.")
            row.revoked_at = self.clock()
            return row.name
