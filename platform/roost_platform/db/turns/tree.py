"""The end of a turn's waits, and of all that other agents do for it."""

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models

DEPTH_MAX = 8  # deeper than any tree that can be made: the walk ends on its own


async def cancel_questions(session: AsyncSession, turn_id: str, now: float) -> None:
    """Cancel what people were asked for the turn and have not decided."""
    await session.execute(
        update(models.Approval)
        .where(models.Approval.turn_id == turn_id, models.Approval.state == "pending")
        .values(state="cancelled", decided_at=now, decided_via="turn")
        .execution_options(synchronize_session=False)
    )


async def open_descendants(session: AsyncSession, turn_id: str) -> Sequence[models.Turn]:
    """The open turns of all agents that work for this turn, the nearest first."""
    found: list[models.Turn] = []
    parents = [turn_id]
    for _ in range(DEPTH_MAX):
        rows = await session.scalars(
            select(models.Turn)
            .join(
                models.ChildTask,
                models.ChildTask.conversation_id == models.Turn.conversation_id,
            )
            .where(
                models.ChildTask.parent_turn_id.in_(parents),
                models.Turn.state.in_(("running", "waiting")),
            )
            .order_by(models.Turn.id)
        )
        below = rows.all()
        found += below
        # A parent may have ended while its children still work.
        parents = list(
            await session.scalars(
                select(models.Turn.id)
                .join(
                    models.ChildTask,
                    models.ChildTask.conversation_id == models.Turn.conversation_id,
                )
                .where(models.ChildTask.parent_turn_id.in_(parents))
            )
        )
        if not parents:
            break
    return found


async def has_compensations(session: AsyncSession, turn_id: str) -> bool:
    """Whether the turn is a flow that undoes something before it ends."""
    found = await session.scalar(
        select(models.ToolCall.call_id)
        .where(models.ToolCall.turn_id == turn_id, models.ToolCall.op == "compensate")
        .limit(1)
    )
    return found is not None
