"""Joining two people who are one: addresses, chats, notes and access come together; and undoing it.

A block stays, and so do policies on tools. An operator's approval goes along, admission by an
access setting does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.base.ids import new_id
from roost_platform.db.base.insert import insert_missing
from roost_platform.db.locks import lock_conversation
from roost_platform.db.people.access import VALID, release
from roost_platform.db.people.link_codes import void_codes
from roost_platform.db.policies.of_people import copy_policies, join_policies
from roost_platform.db.reasons import WORDS

# Whose rows become the other person's. Aliases come apart: they remember where they are from.
_OWNED = (models.Conversation, models.Inbox, models.Pairing, models.NoteRow, models.PersonLink)


@dataclass(frozen=True, slots=True)
class Joined:
    """What a link did. conversations: those with messages that wait to be answered now."""

    person: models.Identity
    conversations: tuple[str, ...]


async def current_id(session: AsyncSession, person_id: str) -> str:
    """The person's id today: theirs, or that of the person whom they were joined to."""
    link = await session.get(models.PersonLink, person_id)
    return person_id if link is None else link.identity_id


async def lock_people(session: AsyncSession, *ids: str) -> Sequence[models.Identity | None]:
    """These people, locked in one order, so that two links at once wait for each other."""
    found = {
        id: await session.get(models.Identity, id, with_for_update=True, populate_existing=True)
        for id in sorted(set(ids))
    }
    return [found[id] for id in ids]


async def join(
    session: AsyncSession,
    person: models.Identity,
    other: models.Identity,
    by: str,
    now: float,
    *,
    approves: bool = False,
) -> Joined:
    """Make `other` one with `person`, whose id stays; both are locked.

    approves: an operator joins them, so who waits is let in with who is allowed.
    """
    conversations = await conversations_of(session, person.id, other.id)
    for conversation_id in conversations:
        await lock_conversation(session, conversation_id)
    _join_access(person, other, by, now, approves=approves)
    await void_codes(session, other.id)
    await session.execute(
        update(models.Alias)
        .where(models.Alias.identity_id == other.id, models.Alias.linked_from == "")
        .values(linked_from=other.id)
    )
    await session.execute(
        update(models.Alias)
        .where(models.Alias.identity_id == other.id)
        .values(identity_id=person.id)
    )
    for model in (*_OWNED, models.LinkCode):
        await session.execute(
            update(model).where(model.identity_id == other.id).values(identity_id=person.id)
        )
    await session.execute(
        update(models.Schedule)
        .where(models.Schedule.owner_id == other.id)
        .values(owner_id=person.id)
    )
    person.zone = person.zone or other.zone
    await _join_questions(session, person.id, other.id)
    await join_policies(session, person.id, other.id)
    former_id = other.id
    await session.delete(other)
    await session.flush()
    await insert_missing(
        session,
        models.PersonLink,
        former_id=former_id,
        identity_id=person.id,
        linked_at=now,
        linked_by=by,
    )
    return Joined(person, await _settle_waiting(session, person, conversations))


async def _join_questions(session: AsyncSession, person_id: str, other_id: str) -> None:
    """What one of them was asked, the other may answer; standing approvals count for both."""
    for column in (models.Approval.requester_id, models.Approval.decided_by):
        await session.execute(
            update(models.Approval).where(column == other_id).values({column: person_id})
        )
    await session.execute(
        update(models.Grant)
        .where(models.Grant.subject == f"person:{other_id}")
        .values(subject=f"person:{person_id}")
    )


def _join_access(
    person: models.Identity, other: models.Identity, by: str, now: float, *, approves: bool
) -> None:
    """Give the person the access of both: a block first, then an approval, then a setting's."""
    both = (person, other)
    blocked = [one for one in both if one.access == "blocked"]
    allowed = [one for one in both if one.access == "allowed"]
    approved = [one for one in allowed if not one.decided_by_policy]
    if approves and len(allowed) == 1 and not approved and not blocked:
        person.access, person.decided_by_policy = "allowed", False
        person.decided_at, person.decided_by = now, by
        return
    source = next(iter((*blocked, *approved, *allowed)), person)
    person.access, person.decided_by_policy = source.access, source.decided_by_policy
    person.decided_at, person.decided_by = source.decided_at, source.decided_by


async def _settle_waiting(
    session: AsyncSession, person: models.Identity, conversations: Sequence[str]
) -> tuple[str, ...]:
    """Release what was held, or drop what waits, as the person's access now is."""
    if person.access == "blocked":
        await session.execute(
            update(models.Inbox)
            .where(
                models.Inbox.identity_id == person.id, models.Inbox.state.in_(("held", "pending"))
            )
            .values(state="ignored", reason_code="blocked", reason=WORDS["blocked"])
        )
        await _end_pairings(session, person.id, "refused")
        return ()
    if person.access != "allowed" or person.decided_by_policy:
        return ()  # each account's setting decides when the next message comes
    await _end_pairings(session, person.id, "approved")
    return tuple([one for one in conversations if await release(session, person.id, one)])


async def _end_pairings(session: AsyncSession, person_id: str, state: str) -> None:
    await session.execute(
        update(models.Pairing)
        .where(models.Pairing.identity_id == person_id, models.Pairing.state.in_(VALID))
        .values(state=state)
    )


async def part(
    session: AsyncSession, person: models.Identity, linked_from: str, now: float
) -> models.Identity | None:
    """Make the person's addresses that came with one link a person of their own again.

    They get the id from before. A block and policies stay with both; without a block the addresses
    have to be let in anew, as it is not known any more what they were allowed. Notes stay with the
    person. None where nothing would be left of one of the two.
    """
    aliases = (
        await session.scalars(select(models.Alias).where(models.Alias.identity_id == person.id))
    ).all()
    leaving = [alias for alias in aliases if alias.linked_from == linked_from]
    if not leaving or len(leaving) == len(aliases):
        return None
    is_blocked = person.access == "blocked"
    former = await session.get(models.PersonLink, linked_from)
    if former is not None:
        await session.delete(former)
    apart = models.Identity(
        id=linked_from or new_id(),
        display_name=person.display_name,
        access="blocked" if is_blocked else "pending",
        created_at=now,
        decided_at=person.decided_at if is_blocked else None,
        decided_by=person.decided_by if is_blocked else "",
        decided_by_policy=person.decided_by_policy if is_blocked else False,
        zone=person.zone,
    )
    session.add(apart)
    await session.flush()
    await copy_policies(session, person.id, apart.id)
    await void_codes(session, person.id)
    for alias in leaving:
        alias.identity_id, alias.linked_from = apart.id, ""
    for conversation_id in await _chats_at(session, person.id, leaving):
        conversation = await lock_conversation(session, conversation_id)
        conversation.identity_id = apart.id
        for model in (models.Inbox, models.Pairing):
            await session.execute(
                update(model)
                .where(model.conversation_id == conversation_id, model.identity_id == person.id)
                .values(identity_id=apart.id)
            )
        schedule = models.Schedule
        await session.execute(
            update(schedule)
            .where(schedule.conversation_id == conversation_id, schedule.owner_id == person.id)
            .values(owner_id=apart.id)
        )
        await session.execute(
            update(models.Approval)
            .where(
                models.Approval.chat_id == conversation_id,
                models.Approval.requester_id == person.id,
            )
            .values(requester_id=apart.id)
        )
    await session.flush()
    return apart


async def conversations_of(session: AsyncSession, *person_ids: str) -> Sequence[str]:
    """These people's own chats, in the order that locks are taken."""
    ids = await session.scalars(
        select(models.Conversation.id)
        .where(models.Conversation.identity_id.in_(person_ids))
        .order_by(models.Conversation.key)
    )
    return ids.all()


async def _chats_at(
    session: AsyncSession, person_id: str, aliases: Sequence[models.Alias]
) -> Sequence[str]:
    """The person's own chats under these names."""
    found: list[str] = []
    for channel in sorted({alias.channel for alias in aliases}):
        names = [alias.address for alias in aliases if alias.channel == channel]
        ids = await session.scalars(
            select(models.Conversation.id)
            .where(
                models.Conversation.identity_id == person_id,
                models.Conversation.channel == channel,
                models.Conversation.chat.in_(names),
            )
            .order_by(models.Conversation.key)
        )
        found += ids.all()
    return found
