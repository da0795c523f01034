"""Login sessions on the server: hashed tokens, idle and absolute limits, throttled sign-in."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.errors import Busy, NotSignedIn
from roost_platform.identity.login_failures import LoginFailures
from roost_platform.identity.passwords import Passwords, new_token, token_hash
from roost_platform.identity.roles import Principal, parse_role

SESSION_IDLE_S = 12 * 3600.0
SESSION_ABSOLUTE_S = 7 * 86400.0
SESSIONS_PER_OPERATOR_MAX = 20  # the oldest go first
SEEN_INTERVAL_S = 60.0  # how often a request moves the idle clock; each is a write
USER_AGENT_LENGTH_MAX = 200
KEY_LENGTH = 16  # hex digits of a hash that name a login in the page


def is_open(now: float) -> ColumnElement[bool]:
    """Whether a login still counts, as a condition; one that is over is deleted with the next."""
    sessions = models.OperatorSession
    return and_(
        sessions.seen_at >= now - SESSION_IDLE_S, sessions.created_at >= now - SESSION_ABSOLUTE_S
    )


@dataclass(frozen=True, slots=True)
class LoginRow:
    """One open login. `key`, the start of the token's hash, is enough to end it, not to use it."""

    key: str
    ip: str
    user_agent: str
    created_at: float
    seen_at: float
    is_current: bool


@dataclass(slots=True)
class Logins:
    """Who is signed in. `clock` gives seconds since the epoch."""

    database: Database
    clock: Callable[[], float]
    passwords: Passwords
    failures: LoginFailures = field(init=False)

    def __post_init__(self) -> None:
        self.failures = LoginFailures(self.database, self.clock, SESSION_ABSOLUTE_S)

    async def sign_in(
        self, name: str, password: str, *, ip: str, user_agent: str, old_token: str | None
    ) -> tuple[Principal, str]:
        """Check the password and open a session; returns its principal and a new token.

        Raises NotSignedIn for a wrong name or password, TooManyTries, Busy. A try that is refused
        is not counted and hashes nothing.
        """
        name = " ".join(name.split())
        self.passwords.refuse_if_full()
        counted = await self.failures.reserve(name, ip)
        async with self.database.read() as session:
            operator = await session.scalar(
                select(models.Operator).where(models.Operator.name == name)
            )
            stored = operator.password_hash if operator and not operator.disabled else None
        if not await self.passwords.verify(stored, password) or operator is None:
            raise NotSignedIn("The name or the password is not right.")
        assert stored is not None
        await self.failures.forget(name, ip, counted)
        await self._renew_hash(operator.id, stored, password)
        principal = Principal(operator.id, operator.name, parse_role(operator.role))
        return principal, await self.open(
            principal, ip=ip, user_agent=user_agent, old_token=old_token
        )

    async def _renew_hash(self, operator_id: str, stored: str, password: str) -> None:
        """Store the right password's hash with the parameters of today; another time if busy."""
        if not self.passwords.is_outdated(stored):
            return
        with contextlib.suppress(Busy):
            digest = await self.passwords.hash(password)
            operators = models.Operator
            async with self.database.write() as session:
                await session.execute(
                    update(operators)
                    .where(operators.id == operator_id, operators.password_hash == stored)
                    .values(password_hash=digest)
                )

    async def open(
        self, principal: Principal, *, ip: str, user_agent: str, old_token: str | None = None
    ) -> str:
        """Open a session for a proven operator; returns its token. The old session ends."""
        token, now = new_token(), self.clock()
        sessions = models.OperatorSession
        async with self.database.write() as session:
            await session.execute(
                delete(sessions).where(
                    or_(
                        sessions.seen_at < now - SESSION_IDLE_S,
                        sessions.created_at < now - SESSION_ABSOLUTE_S,
                        sessions.token_hash == token_hash(old_token or ""),
                    )
                )
            )
            kept = (
                select(sessions.token_hash)
                .where(sessions.operator_id == principal.id)
                .order_by(sessions.seen_at.desc())
                .limit(SESSIONS_PER_OPERATOR_MAX - 1)
            )
            await session.execute(
                delete(sessions).where(
                    sessions.operator_id == principal.id,
                    sessions.token_hash.not_in(kept.scalar_subquery()),
                )
            )
            session.add(
                models.OperatorSession(
                    token_hash=token_hash(token),
                    operator_id=principal.id,
                    ip=ip,
                    user_agent=user_agent[:USER_AGENT_LENGTH_MAX],
                    created_at=now,
                    seen_at=now,
                )
            )
        return token

    async def find(self, token: str | None) -> Principal | None:
        """Whose session this is; None when it ended. Moves the idle clock once a minute."""
        if not token:
            return None
        now, digest = self.clock(), token_hash(token)
        async with self.database.read() as session:
            row = (
                await session.execute(
                    select(models.OperatorSession, models.Operator)
                    .join(models.Operator)
                    .where(models.OperatorSession.token_hash == digest)
                )
            ).first()
        if row is None:
            return None
        login, operator = row
        idle, age = now - login.seen_at, now - login.created_at
        if operator.disabled or idle > SESSION_IDLE_S or age > SESSION_ABSOLUTE_S:
            return None
        if idle > SEEN_INTERVAL_S:
            async with self.database.write() as session:
                await session.execute(
                    update(models.OperatorSession)
                    .where(models.OperatorSession.token_hash == digest)
                    .values(seen_at=now)
                )
        return Principal(operator.id, operator.name, parse_role(operator.role))

    async def close(self, token: str | None) -> None:
        """End the session of this token."""
        async with self.database.write() as session:
            await session.execute(
                delete(models.OperatorSession).where(
                    models.OperatorSession.token_hash == token_hash(token or "")
                )
            )

    async def list(self, operator_id: str, token: str | None) -> Sequence[LoginRow]:
        """The operator's open logins, newest first."""
        current = token_hash(token or "")
        async with self.database.read() as session:
            rows = await session.scalars(
                select(models.OperatorSession)
                .where(models.OperatorSession.operator_id == operator_id, is_open(self.clock()))
                .order_by(models.OperatorSession.seen_at.desc())
            )
            return tuple(
                LoginRow(
                    row.token_hash[:KEY_LENGTH],
                    row.ip,
                    row.user_agent,
                    row.created_at,
                    row.seen_at,
                    row.token_hash == current,
                )
                for row in rows
            )

    async def revoke(self, operator_id: str, key: str) -> bool:
        """End one of the operator's own logins by its key."""
        if len(key) != KEY_LENGTH:
            return False
        async with self.database.write() as session:
            login = await session.scalar(
                select(models.OperatorSession).where(
                    models.OperatorSession.operator_id == operator_id,
                    func.substr(models.OperatorSession.token_hash, 1, KEY_LENGTH) == key,
                )
            )
            if login is not None:
                await session.delete(login)
            return login is not None
