"""Which rows belong to a person, found by the tables' own foreign keys.

A table that is added later belongs to people as soon as it refers to a conversation, a turn, a
part or an identity; a test fails for a table that does neither and is not in TABLES_OF_NOBODY.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Table, and_, literal, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from roost_inference.client.sessions import EngineSession
from roost_platform.db import models
from roost_platform.db.models import Base
from roost_platform.db.people.link_codes import failures_of
from roost_platform.db.turns.children.limits import root_of
from roost_platform.db.waits.grants import SCHEDULE, subject_of
from roost_platform.errors import NotFound

# Tables with nothing of people: those of operators and of the installation.
TABLES_OF_NOBODY: Final = frozenset(
    {
        *("operators", "operator_sessions", "api_tokens", "setup_tokens", "login_failures"),
        *("audit", "audit_anchor", "channel_states", "service_heartbeats", "alerts"),
        *("forgotten_events", "agent_versions"),
        # What a client stores under its key belongs to the key, which names nobody; it expires.
        *("gateway_keys", "gateway_owners", "gateway_responses", "gateway_originals"),
    }
)
# Tables that name people by their address or id.
BY_ADDRESS: Final = frozenset(
    {
        *("listed_names", "chat_waits", "tenants", "link_failures", "tool_policies", "grants"),
        "gateway_calls",
    }
)
# Of these, what was used and paid stays, without the person.
KEPT_UNNAMED: Final[Mapping[str, Sequence[str]]] = {"gateway_calls": ("person", "session")}
_ROOTS: Final = frozenset({"identities", "conversations"})


@dataclass(frozen=True, slots=True)
class Belongings:
    """A person's own chats, and how the person is known.

    conversations: private chats, and before them the conversations of agents that worked for the
    person, also out of chats of others. chats: their (channel, account, chat). addresses: (channel,
    address). names: display names and usernames. groups: conversations of others, in which the
    person wrote. sessions: of the private chats. engine_sessions: those that the engine has to
    forget.
    """

    identity_id: str
    conversations: tuple[str, ...]
    chats: tuple[tuple[str, str, str], ...]
    addresses: frozenset[tuple[str, str]]
    names: frozenset[str]
    groups: tuple[str, ...]
    sessions: tuple[str, ...]
    engine_sessions: tuple[EngineSession, ...]


async def belongings_of(session: AsyncSession, identity_id: str) -> Belongings:
    """What belongs to the person; raises NotFound."""
    identity = await session.get(models.Identity, identity_id)
    if identity is None:
        raise NotFound("There is no such person.")
    own = (
        await session.scalars(
            select(models.Conversation)
            .where(
                models.Conversation.identity_id == identity_id,
                models.Conversation.is_group.is_(False),
            )
            .order_by(models.Conversation.key)
        )
    ).all()
    aliases = (
        await session.scalars(select(models.Alias).where(models.Alias.identity_id == identity_id))
    ).all()
    own_ids = [one.id for one in own]
    below = await _agents_below(session, identity_id, own_ids)
    own_ids = [*(one.id for one in below), *own_ids]  # before what they refer to
    wrote_in = select(models.Inbox.conversation_id).where(models.Inbox.identity_id == identity_id)
    channels = {alias.channel for alias in aliases}
    groups = await session.scalars(
        select(models.Conversation.id)
        .where(
            models.Conversation.id.not_in(own_ids),
            or_(
                models.Conversation.id.in_(wrote_in),
                # Words that were not for the agent are kept without an identity.
                and_(models.Conversation.is_group, models.Conversation.channel.in_(channels)),
            ),
        )
        .order_by(models.Conversation.key)
    )
    sessions = await session.scalars(
        select(models.Session.id).where(models.Session.conversation_id.in_(own_ids))
    )
    names = {identity.display_name, *(alias.username for alias in aliases)}
    return Belongings(
        identity_id=identity_id,
        conversations=tuple(own_ids),
        chats=tuple((one.channel, one.account, one.chat) for one in own),
        addresses=frozenset((alias.channel, alias.address) for alias in aliases),
        names=frozenset(name for name in names if name),
        groups=tuple(groups),
        sessions=tuple(sessions),
        engine_sessions=await engine_sessions_of(session, [*below, *own]),
    )


async def _agents_below(
    session: AsyncSession, identity_id: str, own: Sequence[str]
) -> Sequence[models.Conversation]:
    """The conversations of agents below these chats, and of those that worked for the person
    elsewhere; the deepest first.
    """
    first = models.Inbox
    for_person = select(first.conversation_id).where(
        first.identity_id == identity_id, first.kind.in_(("task", "schedule"))
    )
    rows = await session.scalars(
        select(models.Conversation)
        .where(
            models.Conversation.kind != "chat",
            or_(models.Conversation.root_id.in_(own), models.Conversation.id.in_(for_person)),
        )
        .order_by(models.Conversation.depth.desc(), models.Conversation.id)
    )
    return rows.all()


async def engine_sessions_of(
    session: AsyncSession, conversations: Sequence[models.Conversation]
) -> tuple[EngineSession, ...]:
    """The engine's sessions of these conversations, under every salt they may have."""
    found: list[EngineSession] = []
    for one in conversations:
        chat = await root_of(session, one)
        scopes = (f"{chat.channel}:{chat.account}:{chat.chat}", f"{chat.channel}:{chat.account}")
        salts = await session.scalars(
            select(models.Tenant.salt).where(models.Tenant.name.in_((*scopes, "installation")))
        )
        ids = await session.scalars(
            select(models.Session.id).where(models.Session.conversation_id == one.id)
        )
        known = salts.all()
        found += [EngineSession(id, salt) for id in ids for salt in known]
    return tuple(found)


def conversation_tables() -> Mapping[str, Table]:
    """The tables whose rows belong to conversations, those that refer to others first."""
    tables = reversed(Base.metadata.sorted_tables)
    return {table.name: table for table in tables if _reaches(table, "conversations")}


def person_tables() -> Mapping[str, Table]:
    """The tables whose rows belong to identities and to no conversation alone."""
    return {
        table.name: table
        for table in reversed(Base.metadata.sorted_tables)
        if table.name not in ("conversations", "inbox", "identities")
        and any(key.column.table.name == "identities" for key in table.foreign_keys)
    }


def of_conversations(table: Table, ids: Sequence[str]) -> ColumnElement[bool]:
    """The rows of a table of `conversation_tables` that belong to these conversations."""
    if table.name == "conversations":
        return table.c.id.in_(ids)
    if "conversation_id" in table.c:
        return table.c.conversation_id.in_(ids)
    for key in table.foreign_keys:
        parent = key.column.table
        if _reaches(parent, "conversations"):
            return key.parent.in_(select(key.column).where(of_conversations(parent, ids)))
    raise LookupError(f"{table.name} belongs to no conversation")


def of_person(table: Table, identity_id: str) -> ColumnElement[bool]:
    """The rows of a table of `person_tables` that belong to this person."""
    columns = [key.parent for key in table.foreign_keys if key.column.table.name == "identities"]
    return or_(*(column == identity_id for column in columns))


def by_address(table: Table, owner: Belongings) -> ColumnElement[bool]:
    """The rows of a table of BY_ADDRESS that name this person."""
    chats: list[tuple[Any, ...]] = list(owner.chats)
    if table.name == "tenants":
        return table.c.name.in_([":".join(chat) for chat in owner.chats])
    if table.name == "link_failures":
        return table.c.subject == failures_of(owner.identity_id)
    if table.name == "tool_policies":
        return table.c.person_id == owner.identity_id
    if table.name == "gateway_calls":
        names = (owner.identity_id, *(address for _, address in owner.addresses))
        return or_(table.c.person.in_(names), table.c.session.in_(owner.sessions))
    if table.name == "grants":
        theirs = models.Schedule.owner_id == owner.identity_id
        schedules = select(literal(SCHEDULE) + models.Schedule.id).where(theirs)
        return or_(table.c.subject == subject_of(owner.identity_id), table.c.subject.in_(schedules))
    if table.name == "chat_waits":
        return tuple_(table.c.channel, table.c.account, table.c.chat).in_(chats)
    addresses: list[tuple[Any, ...]] = sorted(owner.addresses)
    return or_(
        tuple_(table.c.channel, table.c.address).in_(addresses),
        tuple_(table.c.channel, table.c.told_address).in_(addresses),
    )


def _reaches(table: Table, root: str) -> bool:
    """Whether the table is `root` or refers to it, at any depth but not through identities."""
    if table.name == root:
        return True
    return any(
        key.column.table is not table
        and key.column.table.name != "identities"
        and _reaches(key.column.table, root)
        for key in table.foreign_keys
    )
