"""The end of a turn's waits, and of all that other agents do for it."""

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.cards.cards import cancel_card

# Every turn that is stopped asks for these, and nearly always finds none.
_PENDING = (
    select(models.Approval)
    .where(models.Approval.turn_id == bindparam("id"), models.Approval.state == "pending")
    .execution_options(populate_existing=True)
)


async def cancel_questions(session: AsyncSession, turn_id: str, now: float) -> None:
    """Cancel what people were asked for the turn and have not decided."""
    pending = await session.scalars(_PENDING, {"id": turn_id})
    for approval in pending.all():
        approval.state, approval.decided_at, approval.decided_via = "cancelled", now, "turn"
        await session.flush()
        await cancel_card(session, approval, now)


async def has_compensations(session: AsyncSession, turn_id: str) -> bool:
    """Whether the turn is a flow that undoes something before it ends."""
    found = await session.scalar(
        select(models.ToolCall.call_id)
        .where(models.ToolCall.turn_id == turn_id, models.ToolCall.op == "compensate")
        .limit(1)
    )
    return found is not None
