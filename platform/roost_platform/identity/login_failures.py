"""Failed logins, counted by account and address: who may not try now."""

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from sqlalchemy import delete, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.errors import TooManyTries

LOGIN_FAILURES_MAX = 5  # per account and address within the window; further tries are refused
# Failures of one account from anywhere, or of one address for any account, after which tries are
# spaced. Somebody else may have caused both, so the right password is only slowed down; an address
# from which the account is signed in is not even slowed down.
LOGIN_FAILURES_CROWD = 100
LOGIN_SPACING_S = 5.0
LOGIN_WINDOW_S = 15 * 60.0
LOCK = 7_305_826_133  # PostgreSQL's advisory lock under which tries are counted
LOGIN_FAILURES_KEPT_MAX = 30_000  # rows, three for each failure; the oldest go first


@dataclass(slots=True)
class LoginFailures:
    """The failures kept in the database. `clock` gives seconds since the epoch.

    session_s: how long a login counts at most.
    """

    database: Database
    clock: Callable[[], float]
    session_s: float

    async def reserve(self, name: str, ip: str) -> Sequence[int]:
        """Count this try as failed before it is checked: parallel guesses must keep the bounds.

        Returns the ids of the rows for the account and for the address. Raises TooManyTries. A
        refused try is not counted, because it would only lengthen the wait of whoever knows the
        password, and it writes nothing, because writers wait for each other.
        """
        now, failures = self.clock(), models.LoginFailure
        async with self.database.read() as session:
            await self._refuse_crowd(session, name, ip, now)
        async with self.database.write() as session:
            if not self.database.is_sqlite:  # whose writers wait for each other anyway
                await session.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
            await self._refuse_crowd(session, name, ip, now)
            newest = select(func.max(failures.id)).scalar_subquery()
            await session.execute(
                delete(failures).where(
                    or_(
                        failures.at <= now - LOGIN_WINDOW_S,
                        failures.id <= newest - LOGIN_FAILURES_KEPT_MAX,
                    )
                )
            )
            counted = [failures(subject=subject, at=now) for subject in _subjects(name, ip)]
            session.add_all(counted)
            await session.flush()
            return [row.id for row in counted[1:]]

    async def forget(self, name: str, ip: str, counted: Sequence[int]) -> None:
        """Forget this try, and the account's failures from this address: the password was right."""
        failures = models.LoginFailure
        pair, _, _ = _subjects(name, ip)
        async with self.database.write() as session:
            await session.execute(
                delete(failures).where(or_(failures.subject == pair, failures.id.in_(counted)))
            )

    async def _refuse_crowd(self, session: AsyncSession, name: str, ip: str, now: float) -> None:
        """Raise TooManyTries if the account is closed to the address, or has to wait."""
        failures = models.LoginFailure
        subjects = _subjects(name, ip)
        rows = await session.execute(
            select(failures.subject, func.count(), func.min(failures.at), func.max(failures.at))
            .where(failures.subject.in_(subjects), failures.at > now - LOGIN_WINDOW_S)
            .group_by(failures.subject)
        )
        by_subject = {subject: (count, first, last) for subject, count, first, last in rows}
        count, first, _ = by_subject.pop(subjects[0], (0, now, now))
        if count >= LOGIN_FAILURES_MAX:
            raise _too_many(first + LOGIN_WINDOW_S - now)
        crowded = [
            last + LOGIN_SPACING_S - now
            for count, _, last in by_subject.values()
            if count >= LOGIN_FAILURES_CROWD and last + LOGIN_SPACING_S > now
        ]
        if crowded and not await self._is_signed_in_from(session, name, ip, now):
            raise _too_many(max(crowded))

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
                sessions.created_at > now - self.session_s,
            )
            .limit(1)
        )
        return token is not None


def _subjects(name: str, ip: str) -> tuple[str, str, str]:
    """The three subjects by which failures are counted: both together, the account, the address."""
    where = client_network(ip)
    return f"pair|{where}|{name}", f"account|{name}", f"address|{where}"


def client_network(ip: str) -> str:
    """The address of a client, or the network that it owns.

    An IPv6 client owns a whole /64, so that is its address. A socket for both versions shows every
    IPv4 client inside one /64 (`::ffff:192.0.2.1`): each of those stays itself.
    """
    with contextlib.suppress(ValueError):
        address = ip_address(ip)
        if isinstance(address, IPv6Address):
            mapped = address.ipv4_mapped
            return str(mapped or ip_network((address, 64), strict=False))
    return ip


def _too_many(wait_s: float) -> TooManyTries:
    wait_s = max(1.0, wait_s)
    minutes, seconds = round(wait_s / 60), math.ceil(wait_s)
    wait = f"{minutes} minutes" if minutes > 1 else f"{seconds} seconds"
    return TooManyTries(f"Too many failed tries. Wait {wait}.", wait_s)
