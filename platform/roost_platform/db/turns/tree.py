"""The end of a turn's waits, and of all that other agents do for it."""

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models


async def cancel_questions(session: AsyncSession, turn_id: str, now: float) -> None:
    """Cancel what people were asked for the turn and have not decided."""
    await session.execute(
        update(models.Approval)
        .where(models.Approval.turn_id == turn_id, models.Approval.state == "pending")
        .values(state="cancelled", decided_at=now, decided_via="turn")
        .execution_options(synchronize_session=False)
    )


async def has_compensations(session: AsyncSession, turn_id: str) -> bool:
    """Whether the turn is a flow that undoes something before it ends."""
    found = await session.scalar(
        select(models.ToolCall.call_id)
        .where(models.ToolCall.turn_id == turn_id, models.ToolCall.op == "compensate")
        .limit(1)
    )
    return found is not None
