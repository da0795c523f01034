"""Operators and the one-time setup link, in the database."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils import uuid7

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.errors import Forbidden, NotFound, Refused
from roost_platform.identity.logins import is_open
from roost_platform.identity.passwords import Passwords, check_password, new_token, token_hash
from roost_platform.identity.roles import Principal, Role

SETUP_LINK_S = 30 * 60.0
NAME_LENGTH_MAX = 64


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """One operator as the Operators page lists them."""

    id: str
    name: str
    role: str
    disabled: bool
    created_at: float
    sessions: int
    seen_at: float | None


@dataclass(slots=True)
class Accounts:
    """Operators and the setup link. `clock` gives seconds since the epoch."""

    database: Database
    clock: Callable[[], float]
    passwords: Passwords = field(default_factory=Passwords)

    async def has_admin(self) -> bool:
        """Whether an admin exists who may sign in."""
        async with self.database.read() as session:
            admin_id = await session.scalar(
                select(models.Operator.id)
                .where(models.Operator.role == "admin", models.Operator.disabled.is_(False))
                .limit(1)
            )
            return admin_id is not None

    async def new_setup_token(self) -> str:
        """A token for the one-time link; earlier ones end. Raises Refused once an admin exists."""
        if await self.has_admin():
            raise Refused("There is an admin already; sign in instead.")
        token, now = new_token(), self.clock()
        async with self.database.write() as session:
            await session.execute(delete(models.SetupToken))
            session.add(
                models.SetupToken(
                    token_hash=token_hash(token),
                    created_at=now,
                    expires_at=now + SETUP_LINK_S,
                    used_at=None,
                )
            )
        return token

    async def set_up(self, token: str, name: str, password: str) -> Principal:
        """Make the first admin and use up the token, in one transaction.

        The token is checked before the password is hashed as well: a request without a good token
        must cost no time and no memory. Raises Forbidden or Refused.
        """
        async with self.database.read() as session:
            await self._good_setup_token(session, token)
        name = clean_name(name)
        digest = await self.passwords.hash(password)
        now = self.clock()
        async with self.database.write() as session:
            row = await self._good_setup_token(session, token)
            row.used_at = now
            return await self._insert(session, name, digest, Role.admin, now)

    async def create(self, name: str, password: str, role: Role) -> Principal:
        """Make an operator; raises Refused for a taken name or a bad password."""
        name = clean_name(name)
        digest = await self.passwords.hash(password)
        async with self.database.write() as session:
            taken = await session.scalar(
                select(models.Operator.id).where(models.Operator.name == name)
            )
            if taken:
                raise Refused(f"There is already an operator called “{name}”.")
            return await self._insert(session, name, digest, role, self.clock())

    async def operators(self) -> Sequence[OperatorRow]:
        """Every operator with the number of open logins, by name."""
        async with self.database.read() as session:
            logins = (
                select(
                    models.OperatorSession.operator_id,
                    func.count().filter(is_open(self.clock())).label("sessions"),
                    func.max(models.OperatorSession.seen_at).label("seen_at"),
                )
                .group_by(models.OperatorSession.operator_id)
                .subquery()
            )
            rows = await session.execute(
                select(models.Operator, logins.c.sessions, logins.c.seen_at)
                .outerjoin(logins, logins.c.operator_id == models.Operator.id)
                .order_by(models.Operator.name)
            )
            return tuple(
                OperatorRow(o.id, o.name, o.role, o.disabled, o.created_at, count or 0, seen)
                for o, count, seen in rows
            )

    async def change(self, operator_id: str, *, role: Role, disabled: bool) -> str:
        """Set role and disabled, and end the operator's logins; returns the name.

        Raises NotFound, and Refused for the last admin.
        """
        async with self.database.write() as session:
            admins = await _lock_admins(session)
            operator = await session.get(models.Operator, operator_id, populate_existing=True)
            if operator is None:
                raise NotFound("There is no such operator.")
            admins -= {operator_id}
            if operator.role == "admin" and not admins and (disabled or role < Role.admin):
                raise Refused("This is the last admin; make another one first.")
            operator.role, operator.disabled = role.name, disabled
            await session.execute(
                delete(models.OperatorSession).where(
                    models.OperatorSession.operator_id == operator_id
                )
            )
            return operator.name

    async def change_password(self, operator_id: str, old: str, new: str) -> None:
        """Set a new password and end every login; raises Refused for a wrong old password."""
        check_password(new)
        async with self.database.read() as session:
            operator = await session.get(models.Operator, operator_id)
            stored = operator.password_hash if operator else None
        if not await self.passwords.verify(stored, old):
            raise Refused("The current password is wrong.")
        digest = await self.passwords.hash(new)
        async with self.database.write() as session:
            await session.execute(
                update(models.Operator)
                .where(models.Operator.id == operator_id)
                .values(password_hash=digest)
            )
            await session.execute(
                delete(models.OperatorSession).where(
                    models.OperatorSession.operator_id == operator_id
                )
            )

    async def _good_setup_token(self, session: AsyncSession, token: str) -> models.SetupToken:
        """The token's row; raises Forbidden unless it can still make the first admin.

        The row is locked first: whoever else uses it at this moment is seen.
        """
        row = await session.get(models.SetupToken, token_hash(token), with_for_update=True)
        exists = await session.scalar(
            select(models.Operator.id).where(models.Operator.role == "admin").limit(1)
        )
        if exists or row is None or row.used_at is not None or row.expires_at < self.clock():
            raise Forbidden(
                "This setup link is used, expired or wrong. `roost up` prints a new one."
            )
        return row

    async def _insert(
        self, session: AsyncSession, name: str, digest: str, role: Role, now: float
    ) -> Principal:
        principal = Principal(str(uuid7()), name, role)
        operator = models.Operator(
            id=principal.id,
            name=name,
            password_hash=digest,
            role=role.name,
            disabled=False,
            created_at=now,
        )
        session.add(operator)
        return principal


def clean_name(name: str) -> str:
    """The name with single spaces; raises Refused for one that is empty or too long."""
    name = " ".join(name.split())
    if not name or len(name) > NAME_LENGTH_MAX:
        raise Refused(f"A name has 1 to {NAME_LENGTH_MAX} characters.")
    return name


async def _lock_admins(session: AsyncSession) -> set[str]:
    """The admins who may sign in. Two who are changed at once wait for each other."""
    admins = (
        select(models.Operator.id)
        .where(models.Operator.role == "admin", models.Operator.disabled.is_(False))
        .order_by(models.Operator.id)
        .with_for_update()
    )
    return set(await session.scalars(admins))
