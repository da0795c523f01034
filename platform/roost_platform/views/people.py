"""People who write to the agents: those who wait to be let in, and all others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.views.channels import account_labels
from roost_platform.views.pagination import PAGE_SIZE, like

REQUESTS_SHOWN_MAX = 50


@dataclass(frozen=True, slots=True)
class AliasView:
    """A channel's id for a person."""

    channel: str
    address: str
    username: str
    linked_from: str = ""  # as in `models.Alias`


@dataclass(frozen=True, slots=True)
class PairingRequest:
    """Somebody who waits to be let in. code: empty while there is none that counts.

    account: where they wrote, where the channel has several accounts; else empty.
    had_code: whether they once got a code. held: messages kept so far.
    """

    identity_id: str
    name: str
    channel: str
    account: str
    address: str
    code: str
    had_code: bool
    expires_at: float | None
    held: int
    first_at: float


@dataclass(frozen=True, slots=True)
class PersonRow:
    """One person in the list."""

    id: str
    name: str
    access: str
    aliases: tuple[AliasView, ...]
    conversations: tuple[tuple[str, str, str], ...]  # (id, channel, account as in SessionRow)
    decided_by: str
    by_policy: bool  # the channel's access setting decided, and no operator
    decided_at: float | None
    created_at: float


async def requests(session: AsyncSession, now: float) -> tuple[PairingRequest, ...]:
    """Everybody who waits to be let in, the longest wait first."""
    identities = (
        await session.scalars(
            select(models.Identity)
            .where(models.Identity.access == "pending")
            .order_by(models.Identity.created_at)
            .limit(REQUESTS_SHOWN_MAX)
        )
    ).all()
    ids = [i.id for i in identities]
    newest = {
        p.identity_id: p
        for p in await session.scalars(
            select(models.Pairing)
            .where(models.Pairing.identity_id.in_(ids))
            .order_by(models.Pairing.created_at)
        )
    }
    codes = {id: p for id, p in newest.items() if p.state == "open" and p.expires_at > now}
    wrote = {
        id: (channel, account)
        for id, channel, account in await session.execute(
            select(
                models.Conversation.identity_id,
                models.Conversation.channel,
                models.Conversation.account,
            )
            .where(models.Conversation.identity_id.in_(ids))
            .order_by(models.Conversation.created_at)
        )
    }
    labels = await account_labels(session)
    held = dict(
        (
            await session.execute(
                select(models.Inbox.identity_id, func.count())
                .where(models.Inbox.identity_id.in_(ids), models.Inbox.state == "held")
                .group_by(models.Inbox.identity_id)
            )
        ).all()
    )
    aliases = await aliases_of(session, ids)
    waiting = []
    for identity in identities:
        alias = next(iter(aliases.get(identity.id, ())), AliasView("", "", ""))
        pairing = codes.get(identity.id)
        waiting.append(
            PairingRequest(
                identity_id=identity.id,
                name=identity.display_name or alias.address,
                channel=alias.channel,
                account=labels.get(wrote.get(identity.id, ("", "")), ""),
                address=alias.address,
                code=pairing.code if pairing else "",
                had_code=identity.id in newest,
                expires_at=pairing.expires_at if pairing else None,
                held=held.get(identity.id, 0),
                first_at=identity.created_at,
            )
        )
    return tuple(waiting)


async def people(
    session: AsyncSession, access: str, text: str, page: int
) -> tuple[int, tuple[PersonRow, ...]]:
    """The number of people who match, and one page of them, newest first."""
    statement: Select[Any] = select(models.Identity)
    if access:
        statement = statement.where(models.Identity.access == access)
    if text:
        pattern = like(text)
        by_alias = exists().where(
            models.Alias.identity_id == models.Identity.id,
            or_(
                models.Alias.address.ilike(pattern, escape="\\"),
                models.Alias.username.ilike(pattern, escape="\\"),
            ),
        )
        statement = statement.where(
            or_(models.Identity.display_name.ilike(pattern, escape="\\"), by_alias)
        )
    total = await session.scalar(
        select(func.count()).select_from(statement.with_only_columns(models.Identity.id).subquery())
    )
    rows = (
        await session.scalars(
            statement.order_by(models.Identity.created_at.desc(), models.Identity.id.desc())
            .limit(PAGE_SIZE)
            .offset((page - 1) * PAGE_SIZE)
        )
    ).all()
    return total or 0, await rows_of(session, rows)


async def rows_of(session: AsyncSession, rows: Sequence[models.Identity]) -> tuple[PersonRow, ...]:
    """These people with their addresses and conversations."""
    ids = [row.id for row in rows]
    aliases = await aliases_of(session, ids)
    labels = await account_labels(session)
    conversations: dict[str, list[tuple[str, str, str]]] = {}
    for id, identity_id, channel, account in await session.execute(
        select(
            models.Conversation.id,
            models.Conversation.identity_id,
            models.Conversation.channel,
            models.Conversation.account,
        )
        .where(models.Conversation.identity_id.in_(ids))
        .order_by(models.Conversation.created_at)
    ):
        label = labels.get((channel, account), "")
        conversations.setdefault(identity_id or "", []).append((id, channel, label))
    return tuple(
        PersonRow(
            id=row.id,
            name=row.display_name,
            access=row.access,
            aliases=aliases.get(row.id, ()),
            conversations=tuple(conversations.get(row.id, ())),
            decided_by=row.decided_by,
            by_policy=row.decided_by_policy,
            decided_at=row.decided_at,
            created_at=row.created_at,
        )
        for row in rows
    )


async def aliases_of(session: AsyncSession, ids: list[str]) -> dict[str, tuple[AliasView, ...]]:
    """The addresses of these people, by person."""
    by_person: dict[str, tuple[AliasView, ...]] = {}
    for alias in await session.scalars(
        select(models.Alias)
        .where(models.Alias.identity_id.in_(ids))
        .order_by(models.Alias.created_at)
    ):
        view = AliasView(alias.channel, alias.address, alias.username, alias.linked_from)
        by_person[alias.identity_id] = (*by_person.get(alias.identity_id, ()), view)
    return by_person
