"""What a turn has used so far, of calls, tokens and time: its limits are held by it."""

from collections.abc import Sequence

from sqlalchemy import bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_workflows.model_calls import Spent

# Every model call after a turn's first runs these, so they are built once.
_STEPS = select(
    func.sum(models.TurnStep.prompt_tokens + models.TurnStep.completion_tokens),
    func.sum(models.TurnStep.duration_s),
).where(models.TurnStep.turn_id == bindparam("id"), models.TurnStep.step > bindparam("before"))
_CALLS = (
    select(models.ToolCall)
    .where(models.ToolCall.turn_id == bindparam("id"), models.ToolCall.step > bindparam("before"))
    .order_by(models.ToolCall.step, models.ToolCall.position)
)


async def spent(session: AsyncSession, turn: models.Turn) -> Spent:
    """The turn's spending since it was last tried again. Calls of one step run side by side and
    count as long as the longest.
    """
    which = {"id": turn.id, "before": turn.steps_before}
    tokens, seconds = (await session.execute(_STEPS, which)).one()
    calls = (await session.scalars(_CALLS, which)).all()
    return Spent(
        calls=tuple((call.call_id, call.name, call.arguments) for call in calls),
        tokens=int(tokens or 0),
        worked_s=float(seconds or 0.0) + _tools_s(calls),
    )


def _tools_s(calls: Sequence[models.ToolCall]) -> float:
    longest: dict[int, float] = {}
    for call in calls:
        if call.started_at is not None and call.finished_at is not None:
            seconds = max(call.finished_at - call.started_at, 0.0)
            longest[call.step] = max(longest.get(call.step, 0.0), seconds)
    return sum(longest.values())
