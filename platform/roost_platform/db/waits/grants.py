"""Standing approvals: one tool with one set of arguments runs for a person, or for a schedule,
without being asked.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import CursorResult, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.base.ids import new_id
from roost_platform.db.turns.children.limits import root_turn_id
from roost_platform.db.turns.transcript import RESULT, SCHEDULE_KIND
from roost_workflows.storage.waits import CallFacts

PERSON: Final = "person:"
SCHEDULE: Final = "schedule:"
LISTED_MAX: Final = 200


def subject_of(person_id: str) -> str:
    """For whom a grant counts."""
    return f"{PERSON}{person_id}"


async def schedule_of_turn(session: AsyncSession, turn: models.Turn) -> str:
    """The id of the one schedule for which the turn works, also where agents stand between them;
    empty for a turn in which a person said something.
    """
    root = await session.get_one(models.Turn, await root_turn_id(session, turn))
    rows = await session.execute(
        select(models.Inbox.kind, models.Occurrence.schedule_id)
        .outerjoin(models.Occurrence, models.Occurrence.inbox_id == models.Inbox.id)
        .where(models.Inbox.turn_id == root.id)
    )
    found = {(kind, schedule_id or "") for kind, schedule_id in rows if kind != RESULT}
    if not found:  # what agents answered to a job that was over
        job = await session.get_one(models.Conversation, root.conversation_id)
        time = await session.get(models.Occurrence, job.chat) if job.kind == "job" else None
        return "" if time is None else time.schedule_id
    kinds = {kind for kind, _ in found}
    return found.pop()[1] if len(found) == 1 and kinds == {SCHEDULE_KIND} else ""


def can_be_standing(approval: models.Approval) -> bool:
    """Whether the same call may run for its person from now on: only one that they decide."""
    return bool(approval.tool and approval.rule == "requester" and approval.requester_id)


async def give_grant(
    session: AsyncSession, approval: models.Approval, now: float, lasts_s: float
) -> models.Grant:
    """Let the approved call run without a question: for the same person, or for the schedule alone
    whose turn asked.
    """
    turn = await session.get_one(models.Turn, approval.turn_id)
    schedule_id = await schedule_of_turn(session, turn)
    grant = models.Grant(
        id=new_id(),
        subject=f"{SCHEDULE}{schedule_id}" if schedule_id else subject_of(approval.requester_id),
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
    return grant


async def use_grant(
    session: AsyncSession, turn: models.Turn, facts: CallFacts, person_id: str, now: float
) -> models.Grant | None:
    """Use the grant of the person, or of the schedule for which the turn works, for the call as it
    is now; None where there is none.

    A grant counts for one agent, tool and set of arguments: any change of them needs a new one.
    """
    if not person_id:
        return None
    subjects = [subject_of(person_id)]
    if schedule_id := await schedule_of_turn(session, turn):
        subjects.append(f"{SCHEDULE}{schedule_id}")
    grant = await session.scalar(
        select(models.Grant)
        .where(
            models.Grant.subject.in_(subjects),
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


async def revoke_all_of(session: AsyncSession, schedule_ids: Sequence[str], now: float) -> None:
    """End the grants of schedules that are over for good."""
    subjects = [f"{SCHEDULE}{id}" for id in schedule_ids]
    await session.execute(
        update(models.Grant)
        .where(models.Grant.subject.in_(subjects), models.Grant.revoked_at.is_(None))
        .values(revoked_at=now)
        .execution_options(synchronize_session=False)
    )


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
