"""Standing approvals: one tool with one set of arguments runs for a person without being asked."""

from typing import Final

from sqlalchemy import CursorResult, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.base.ids import new_id
from roost_workflows.storage.waits import CallFacts

PERSON: Final = "person:"
LISTED_MAX: Final = 200


def subject_of(person_id: str) -> str:
    """For whom a grant counts."""
    return f"{PERSON}{person_id}"


def can_be_standing(approval: models.Approval) -> bool:
    """Whether the same call may run for its person from now on: only one that they decide."""
    return bool(approval.tool and approval.rule == "requester" and approval.requester_id)


async def give_grant(
    session: AsyncSession, approval: models.Approval, now: float, lasts_s: float
) -> str:
    """Let the approved call run for the same person without a question; returns the grant's id."""
    grant = models.Grant(
        id=new_id(),
        subject=subject_of(approval.requester_id),
        agent=approval.agent,
        tool=approval.tool,
        tool_hash=approval.tool_hash,
        args_hash=approval.args_hash,
        approval_id=approval.id,
        created_at=now,
        expires_at=now + lasts_s,
    )
    session.add(grant)
    await session.flush()
    return grant.id


async def use_grant(
    session: AsyncSession, facts: CallFacts, person_id: str, now: float
) -> models.Grant | None:
    """Use the person's grant for the call, as it is now; None where there is none.

    A grant counts for one agent, tool and set of arguments: any change of them needs a new one.
    """
    if not person_id:
        return None
    grant = await session.scalar(
        select(models.Grant)
        .where(
            models.Grant.subject == subject_of(person_id),
            models.Grant.agent == facts.agent,
            models.Grant.tool == facts.tool,
            models.Grant.tool_hash == facts.tool_hash,
            models.Grant.args_hash == facts.args_hash,
            models.Grant.revoked_at.is_(None),
            models.Grant.expires_at > now,
            or_(models.Grant.uses_max.is_(None), models.Grant.uses < models.Grant.uses_max),
        )
        .order_by(models.Grant.expires_at.desc())
        .limit(1)
    )
    if grant is None:
        return None
    used = await session.execute(
        update(models.Grant)
        .where(
            models.Grant.id == grant.id,
            models.Grant.revoked_at.is_(None),
            or_(models.Grant.uses_max.is_(None), models.Grant.uses < models.Grant.uses_max),
        )
        .values(uses=models.Grant.uses + 1)
        .execution_options(synchronize_session=False)
    )
    return grant if isinstance(used, CursorResult) and used.rowcount else None


async def revoke(session: AsyncSession, grant_id: str, now: float) -> models.Grant | None:
    """Let the grant count no more; None where there is none, or it was revoked before."""
    grant = await session.get(models.Grant, grant_id, with_for_update=True)
    if grant is None or grant.revoked_at is not None:
        return None
    grant.revoked_at = now
    return grant


async def live_grants(
    session: AsyncSession, now: float, *, person_id: str = ""
) -> list[models.Grant]:
    """The grants that count now, the newest first; of one person, or of all."""
    query = select(models.Grant).where(
        models.Grant.revoked_at.is_(None), models.Grant.expires_at > now
    )
    if person_id:
        query = query.where(models.Grant.subject == subject_of(person_id))
    rows = await session.scalars(query.order_by(models.Grant.created_at.desc()).limit(LISTED_MAX))
    return list(rows)
