"""The decision of a question: the first one counts, and it brings the call back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import CursorResult, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.base.text import clean
from roost_platform.db.turns.parking import make_ready

Decided = Literal["approved", "denied", "answered", "expired", "cancelled", "unreachable", "stale"]
REASON_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Decider:
    """Who decides. id: of a person or the operator's name. via: a channel, console, cli or api."""

    id: str
    name: str
    via: str


CLOCK: Final = Decider("", "", "clock")


async def decide(
    session: AsyncSession,
    approval: models.Approval,
    verdict: Decided,
    by: Decider,
    now: float,
    *,
    answers: Sequence[str] = (),
    reason: str = "",
) -> str | None:
    """Decide a pending question, once; the conversation to ring, None where it was decided before.

    The conversation that asked is locked. Whether `by` may decide is the caller's to check.
    """
    result = await session.execute(
        update(models.Approval)
        .where(models.Approval.id == approval.id, models.Approval.state == "pending")
        .values(
            state=verdict,
            answers=[clean(answer) for answer in answers],
            reason=clean(reason)[:REASON_MAX],
            decided_by=by.id,
            decided_name=by.name,
            decided_via=by.via,
            decided_at=now,
        )
    )
    if not (isinstance(result, CursorResult) and result.rowcount):
        return None
    await session.refresh(approval)
    return await make_ready(session, approval.turn_id, approval.step, approval.call_id)
