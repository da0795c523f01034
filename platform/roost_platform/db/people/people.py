"""People: who is admitted, who waits with a pairing code, and what operators decide."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.audit import audit
from roost_platform.db.base.engine import Database
from roost_platform.db.base.ids import new_id
from roost_platform.db.enqueue import enqueue
from roost_platform.db.locks import lock_conversation
from roost_platform.db.people.access import CONNECTED, VALID, release
from roost_platform.db.reasons import WORDS
from roost_platform.errors import NotFound

PAGE_MAX = 200


@dataclass(frozen=True, slots=True)
class PersonView:
    """One identity with its channel addresses. code: the open pairing code, if any.

    aliases: (channel, address, username). held: messages that wait for approval.
    """

    id: str
    name: str
    access: str
    created_at: float
    decided_at: float | None
    decided_by: str
    aliases: tuple[tuple[str, str, str], ...]
    code: str | None
    code_expires_at: float | None
    held: int
    last_inbound_at: float | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What an approval or block changed; `conversations` have messages to answer now."""

    identity_id: str
    conversations: tuple[str, ...]


class People:
    """Reads people and decides on them; every decision is audited in its own transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self, *, access: str | None = None, limit: int = 50, offset: int = 0
    ) -> Sequence[PersonView]:
        """People, newest first; `access` is pending, allowed or blocked."""
        query = select(models.Identity).order_by(models.Identity.created_at.desc())
        if access is not None:
            query = query.where(models.Identity.access == access)
        query = query.limit(min(limit, PAGE_MAX)).offset(offset)
        async with self._database.read() as session:
            rows = (await session.scalars(query)).all()
            return [await self._person(session, row) for row in rows]

    async def get(self, identity_id: str) -> PersonView | None:
        """One person, None when there is no such id."""
        async with self._database.read() as session:
            row = await session.get(models.Identity, identity_id)
            return None if row is None else await self._person(session, row)

    async def count(self, access: str) -> int:
        """How many people have this access."""
        async with self._database.read() as session:
            query = select(func.count()).select_from(models.Identity)
            return await session.scalar(query.where(models.Identity.access == access)) or 0

    async def approve(self, code_or_id: str, by: str, ip: str = "") -> Decision:
        """Admit a person by pairing code or id; their held messages wait to be answered."""
        async with self._database.write() as session:
            identity = await self._find(session, code_or_id)
            now = self._database.now()
            conversations = await _conversations_of(session, identity.id)
            released = []
            for conversation_id in conversations:
                conversation = await lock_conversation(session, conversation_id)
                if await release(session, identity.id, conversation_id):
                    released.append(conversation_id)
                if identity.access != "allowed":
                    await enqueue(
                        session,
                        conversation,
                        kind="notice",
                        body=CONNECTED,
                        dedupe_key=f"connected:{identity.id}:{conversation_id}:{new_id()}",
                        now=now,
                    )
            await _decide(session, identity, "allowed", "approved", by, now)
            await audit(session, now, by, "person.approve", identity.id, _detail(identity), ip)
            return Decision(identity.id, tuple(released))

    async def block(self, identity_id: str, by: str, ip: str = "") -> Decision:
        """Refuse a person; their waiting messages are ignored."""
        async with self._database.write() as session:
            identity = await self._find(session, identity_id)
            now = self._database.now()
            for conversation_id in await _conversations_of(session, identity.id):
                await lock_conversation(session, conversation_id)
            await session.execute(
                update(models.Inbox)
                .where(
                    models.Inbox.identity_id == identity.id,
                    models.Inbox.state.in_(("held", "pending")),
                )
                .values(state="ignored", reason_code="blocked", reason=WORDS["blocked"])
                .execution_options(synchronize_session=False)
            )
            await _decide(session, identity, "blocked", "refused", by, now)
            await audit(session, now, by, "person.block", identity.id, _detail(identity), ip)
            return Decision(identity.id, ())

    async def _find(self, session: AsyncSession, code_or_id: str) -> models.Identity:
        wanted = code_or_id.strip()
        pairing = await session.scalar(
            select(models.Pairing).where(
                models.Pairing.code == wanted.upper(),
                models.Pairing.state.in_(VALID),
                models.Pairing.expires_at > self._database.now(),
            )
        )
        identity_id = wanted if pairing is None else pairing.identity_id
        identity = await session.get(models.Identity, identity_id)
        if identity is None:
            raise NotFound("No open pairing code and no person of that name.")
        return identity

    async def _person(self, session: AsyncSession, row: models.Identity) -> PersonView:
        aliases = await session.scalars(
            select(models.Alias).where(models.Alias.identity_id == row.id)
        )
        pairing = await session.scalar(
            select(models.Pairing).where(
                models.Pairing.identity_id == row.id,
                models.Pairing.state.in_(VALID),
                models.Pairing.expires_at > self._database.now(),
            )
        )
        held = await session.scalar(
            select(func.count())
            .select_from(models.Inbox)
            .where(models.Inbox.identity_id == row.id, models.Inbox.state == "held")
        )
        last = await session.scalar(
            select(func.max(models.Inbox.received_at)).where(models.Inbox.identity_id == row.id)
        )
        return PersonView(
            id=row.id,
            name=row.display_name,
            access=row.access,
            created_at=row.created_at,
            decided_at=row.decided_at,
            decided_by=row.decided_by,
            aliases=tuple((alias.channel, alias.address, alias.username) for alias in aliases),
            code=None if pairing is None else pairing.code,
            code_expires_at=None if pairing is None else pairing.expires_at,
            held=held or 0,
            last_inbound_at=last,
        )


async def _conversations_of(session: AsyncSession, identity_id: str) -> Sequence[str]:
    """The person's own chats, in the order that locks are taken."""
    ids = await session.scalars(
        select(models.Conversation.id)
        .where(models.Conversation.identity_id == identity_id)
        .order_by(models.Conversation.key)
    )
    return ids.all()


async def _decide(
    session: AsyncSession, identity: models.Identity, access: str, pairing: str, by: str, now: float
) -> None:
    identity.access, identity.decided_at = access, now
    identity.decided_by, identity.decided_by_policy = by, False
    await session.execute(
        update(models.Pairing)
        .where(models.Pairing.identity_id == identity.id, models.Pairing.state.in_(VALID))
        .values(state=pairing)
        .execution_options(synchronize_session=False)
    )
    await session.flush()


def _detail(_identity: models.Identity) -> dict[str, str]:
    """Nothing of the person: the trail can't be changed, and people can be deleted."""
    return {}
