"""Which target of the gateway answered each model call of a session, by the rows of its calls."""

from collections.abc import Mapping, Sequence

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models

CALLS_READ_MAX = 500
CLOCKS_S = 1.0  # a call and its step are timed a moment apart, by one process


async def targets_of(
    session: AsyncSession, session_id: str, steps: Sequence[models.TurnStep]
) -> Mapping[tuple[str, int], str]:
    """The targets by (turn, step). Without its call's row a step is left out.

    A session makes one call at a time, so the call that a step came of is the one that ended with
    it; of several, such as repeated ones, the last.
    """
    if not steps:
        return {}
    call = models.GatewayCall
    rows = await session.execute(
        select(call.started_at, call.duration_ms, call.target)
        .where(
            or_(*(call.started_at.between(begin, end) for begin, end in _windows(steps))),
            *(call.session == session_id, call.key_id == "", call.outcome == "ok"),
            call.target != "",
        )
        .order_by(call.started_at.desc())
        .limit(CALLS_READ_MAX)
    )
    ended = [(at + (duration_ms or 0.0) / 1000, target) for at, duration_ms, target in rows.all()]
    found: dict[tuple[str, int], str] = {}
    for step in steps:
        over = step.started_at + step.duration_s
        near = [(abs(at - over), target) for at, target in ended if abs(at - over) <= CLOCKS_S]
        if near:
            found[step.turn_id, step.step] = min(near)[1]
    return found


def targets_by_step(found: Mapping[tuple[str, int], str], turn_id: str) -> Mapping[int, str]:
    """The targets of one turn, by the number of the step."""
    return {step: target for (turn, step), target in found.items() if turn == turn_id}


def _windows(steps: Sequence[models.TurnStep]) -> list[tuple[float, float]]:
    """When each turn's model calls began and ended: an index finds calls by their time alone."""
    found: dict[str, tuple[float, float]] = {}
    for step in steps:
        end = step.started_at + step.duration_s + CLOCKS_S
        first, last = found.get(step.turn_id, (step.started_at, end))
        found[step.turn_id] = min(first, step.started_at - CLOCKS_S), max(last, end)
    return list(found.values())
