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
from roost_platform.db.people.link_codes import void_codes
from roost_platform.db.people.linking import (
    conversations_of,
    current_id,
    join,
    lock_people,
    part,
)
from roost_platform.db.reasons import WORDS
from roost_platform.errors import NotAllowed, NotFound

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
            conversations = await conversations_of(session, identity.id)
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
            for conversation_id in await conversations_of(session, identity.id):
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
            await void_codes(session, identity.id)
            await _decide(session, identity, "blocked", "refused", by, now)
            await audit(session, now, by, "person.block", identity.id, _detail(identity), ip)
            return Decision(identity.id, ())

    async def link(self, person_id: str, other_id: str, by: str, ip: str = "") -> Decision:
        """Make the other one with the person, whose id stays: addresses, chats and notes.

        Who waits is let in with who is allowed; a block stays. Raises NotFound, and NotAllowed for
        one and the same person.
        """
        async with self._database.write() as session:
            person_id, other_id = [await current_id(session, id) for id in (person_id, other_id)]
            person, other = await lock_people(session, person_id, other_id)
            if person is None or other is None:
                raise NotFound("No such person.")
            if person is other:
                raise NotAllowed("That is one person already.")
            now = self._database.now()
            joined = await join(session, person, other, by, now, approves=True)
            detail = {"other": other_id, "access": person.access}
            await audit(session, now, by, "person.link", person.id, detail, ip)
            return Decision(person.id, joined.conversations)

    async def unlink(self, person_id: str, linked_from: str, by: str, ip: str = "") -> str:
        """Make the addresses that came with one link a person of their own; returns their id.

        linked_from: as in `models.Alias`, empty for the addresses that were the person's own.
        Raises NotFound, and NotAllowed where the person has no other address.
        """
        async with self._database.write() as session:
            [person] = await lock_people(session, await current_id(session, person_id))
            if person is None:
                raise NotFound("No such person.")
            now = self._database.now()
            apart = await part(session, person, linked_from, now)
            if apart is None:
                raise NotAllowed("These addresses are not linked with others.")
            detail = {**_detail(person), "apart": apart.id, "access": apart.access}
            await audit(session, now, by, "person.unlink", person.id, detail, ip)
            return apart.id

    async def _find(self, session: AsyncSession, code_or_id: str) -> models.Identity:
        wanted = code_or_id.strip()
        pairing = await session.scalar(
            select(models.Pairing).where(
                models.Pairing.code == wanted.upper(),
                models.Pairing.state.in_(VALID),
                models.Pairing.expires_at > self._database.now(),
            )
        )
        identity_id = await current_id(session, wanted) if pairing is None else pairing.identity_id
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
