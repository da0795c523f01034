"""Login sessions on the server: hashed tokens, idle and absolute limits, throttled sign-in."""

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.errors import NotSignedIn, TooManyTries
from roost_platform.identity.passwords import Passwords, new_token, token_hash
from roost_platform.identity.roles import Principal, parse_role

SESSION_IDLE_S = 12 * 3600.0
SESSION_ABSOLUTE_S = 7 * 86400.0
SESSIONS_PER_OPERATOR_MAX = 20  # the oldest go first
SEEN_INTERVAL_S = 60.0  # how often a request moves the idle clock; each is a write
LOGIN_FAILURES_MAX = 5  # per account and address within the window; further tries are refused
# Failures of one account from anywhere, or of one address for any account, after which tries are
# spaced. Somebody else may have caused both, so the right password is only slowed down; an address
# from which the account is signed in is not even slowed down.
LOGIN_FAILURES_CROWD = 100
LOGIN_SPACING_S = 5.0
LOGIN_WINDOW_S = 15 * 60.0
LOGIN_FAILURES_KEPT_MAX = 30_000  # rows, three for each failure; the oldest go first
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

    async def sign_in(
        self, name: str, password: str, *, ip: str, user_agent: str, old_token: str | None
    ) -> tuple[Principal, str]:
        """Check the password and open a session; returns its principal and a new token.

        Raises NotSignedIn for a wrong name or password, TooManyTries.
        """
        name = " ".join(name.split())
        counted = await self._reserve(name, ip)
        async with self.database.read() as session:
            operator = await session.scalar(
                select(models.Operator).where(models.Operator.name == name)
            )
            stored = operator.password_hash if operator and not operator.disabled else None
        if not await self.passwords.verify(stored, password) or operator is None:
            raise NotSignedIn("The name or the password is not right.")
        await self._forget_failures(name, ip, counted)
        principal = Principal(operator.id, operator.name, parse_role(operator.role))
        return principal, await self.open(
            principal, ip=ip, user_agent=user_agent, old_token=old_token
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

    async def _reserve(self, name: str, ip: str) -> Sequence[int]:
        """Count this try as failed before it is checked: parallel guesses must keep the bounds.

        Returns the ids of the rows for the account and for the address. A refused try is not
        counted, because it would only lengthen the wait of whoever knows the password.
        """
        now, failures = self.clock(), models.LoginFailure
        pair, account, address = _subjects(name, ip)
        async with self.database.write() as session:
            newest = select(func.max(failures.id)).scalar_subquery()
            await session.execute(
                delete(failures).where(
                    or_(
                        failures.at <= now - LOGIN_WINDOW_S,
                        failures.id <= newest - LOGIN_FAILURES_KEPT_MAX,
                    )
                )
            )
            rows = await session.execute(
                select(failures.subject, func.count(), func.min(failures.at), func.max(failures.at))
                .where(failures.subject.in_((pair, account, address)))
                .group_by(failures.subject)
            )
            failures_by_subject = {
                subject: (count, first, last) for subject, count, first, last in rows
            }
            count, first, _ = failures_by_subject.get(pair, (0, now, now))
            if count >= LOGIN_FAILURES_MAX:
                raise _too_many(first + LOGIN_WINDOW_S - now)
            crowded = [
                last + LOGIN_SPACING_S - now
                for subject, (count, _, last) in failures_by_subject.items()
                if subject != pair
                and count >= LOGIN_FAILURES_CROWD
                and last + LOGIN_SPACING_S > now
            ]
            if crowded and not await self._is_signed_in_from(session, name, ip, now):
                raise _too_many(max(crowded))
            counted = [failures(subject=subject, at=now) for subject in (pair, account, address)]
            session.add_all(counted)
            await session.flush()
            return [row.id for row in counted[1:]]

    async def _is_signed_in_from(
        self, session: AsyncSession, name: str, ip: str, now: float
    ) -> bool:
        """Whether the account is signed in from this address."""
        sessions = models.OperatorSession
        token = await session.scalar(
            select(sessions.token_hash)
            .join(models.Operator)
            .where(
                models.Operator.name == name,
                sessions.ip == ip,
                sessions.created_at > now - SESSION_ABSOLUTE_S,
            )
            .limit(1)
        )
        return token is not None

    async def _forget_failures(self, name: str, ip: str, counted: Sequence[int]) -> None:
        """Forget this try, and the account's failures from this address: the password was right."""
        failures = models.LoginFailure
        pair, _, _ = _subjects(name, ip)
        async with self.database.write() as session:
            await session.execute(
                delete(failures).where(or_(failures.subject == pair, failures.id.in_(counted)))
            )


def _subjects(name: str, ip: str) -> tuple[str, str, str]:
    """The three subjects by which failures are counted: both together, the account, the address.

    An IPv6 client owns a whole /64, so that is its address. A socket for both versions shows every
    IPv4 client inside one /64 (`::ffff:192.0.2.1`): each of those stays itself.
    """
    where = ip
    with contextlib.suppress(ValueError):
        address = ip_address(ip)
        if isinstance(address, IPv6Address):
            mapped = address.ipv4_mapped
            where = str(mapped or ip_network((address, 64), strict=False))
    return f"pair|{where}|{name}", f"account|{name}", f"address|{where}"


def _too_many(wait_s: float) -> TooManyTries:
    wait_s = max(1.0, wait_s)
    minutes, seconds = round(wait_s / 60), math.ceil(wait_s)
    wait = f"{minutes} minutes" if minutes > 1 else f"{seconds} seconds"
    return TooManyTries(f"Too many failed tries. Wait {wait}.", wait_s)
