"""What operators decided about a person's tools, where people are joined or come apart."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.approval_rules import VERDICTS
from roost_platform.db import models
from roost_platform.db.base.ids import new_id


async def join_policies(session: AsyncSession, person_id: str, other_id: str) -> None:
    """Let the person have the policies of both; of two for the same tool the stricter one counts.

    A new address is no way around what somebody may not do.
    """
    own = {_key(row): row for row in await _of(session, person_id)}
    for row in await _of(session, other_id):
        kept = own.get(_key(row))
        if kept is None:
            row.person_id = person_id
            continue
        if VERDICTS.index(row.verdict) > VERDICTS.index(kept.verdict):
            kept.verdict, kept.set_by, kept.set_at = row.verdict, row.set_by, row.set_at
        await session.delete(row)
    await session.flush()


async def copy_policies(session: AsyncSession, person_id: str, apart_id: str) -> None:
    """Let the policies of a person count for the one who comes apart from them, too."""
    known = {_key(row) for row in await _of(session, apart_id)}
    for row in await _of(session, person_id):
        if _key(row) not in known:
            session.add(
                models.ToolPolicy(
                    id=new_id(),
                    agent=row.agent,
                    tool=row.tool,
                    channel=row.channel,
                    person_id=apart_id,
                    verdict=row.verdict,
                    set_by=row.set_by,
                    set_at=row.set_at,
                )
            )
    await session.flush()


async def _of(session: AsyncSession, person_id: str) -> Sequence[models.ToolPolicy]:
    rows = await session.scalars(
        select(models.ToolPolicy).where(models.ToolPolicy.person_id == person_id)
    )
    return rows.all()


def _key(row: models.ToolPolicy) -> tuple[str, str, str]:
    return row.agent, row.tool, row.channel
