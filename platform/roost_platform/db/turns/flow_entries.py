"""The entries of a flow's journal where its turn ends: what did not end is closed and counted."""

from collections.abc import Sequence
from typing import cast

from sqlalchemy import bindparam, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost.effects import Effect
from roost_platform.db import models
from roost_workflows.ports import CALL_ENDED, CallState
from roost_workflows.turn.endings import unfinished_call

# Entries that people hear of as calls; the others do nothing outside.
COUNTED = ("", "call", "spawn")

_OPEN = select(models.ToolCall).where(
    models.ToolCall.turn_id == bindparam("id"),
    models.ToolCall.op != "",
    models.ToolCall.state.not_in(CALL_ENDED),
)


async def close_entries(session: AsyncSession, turn: models.Turn, now: float) -> None:
    """Close what a flow's journal has open; a turn of an agent has no journal."""
    flow = await session.get(models.FlowRun, turn.id)
    if flow is None:
        return
    flow.finished_at = now
    for call in (await session.scalars(_OPEN, {"id": turn.id})).all():
        if call.state == "planned":
            call.state, call.result = "skipped", ""
        else:
            state, effect = cast(CallState, call.state), cast(Effect, call.effect)
            call.state, call.result = unfinished_call(state, effect)
        call.due_at, call.finished_at = None, now


async def count_steps(
    session: AsyncSession, turn_ids: Sequence[str]
) -> dict[str, dict[tuple[str, str], int]]:
    """How many entries the journals of these turns have, by (state, what they wait for)."""
    rows = await session.execute(
        select(models.ToolCall.turn_id, models.ToolCall.state, models.ToolCall.wait, func.count())
        .where(models.ToolCall.turn_id.in_(turn_ids), models.ToolCall.op != "")
        .group_by(models.ToolCall.turn_id, models.ToolCall.state, models.ToolCall.wait)
    )
    counts: dict[str, dict[tuple[str, str], int]] = {}
    for turn_id, state, wait, count in rows:
        counts.setdefault(turn_id, {})[state, wait] = count
    return counts


async def has_compensations(session: AsyncSession, turn_id: str) -> bool:
    """Whether the turn is a flow that undoes something before it ends."""
    found = await session.scalar(
        select(models.ToolCall.call_id)
        .where(models.ToolCall.turn_id == turn_id, models.ToolCall.op == "compensate")
        .limit(1)
    )
    return found is not None


async def flow_id(session: AsyncSession, given: str) -> str | None:
    """The turn's id of a flow, by itself or by the message that began it; None before it began."""
    found: str | None = await session.scalar(
        select(models.FlowRun.turn_id)
        .outerjoin(models.Inbox, models.Inbox.turn_id == models.FlowRun.turn_id)
        .where(or_(models.FlowRun.turn_id == given, models.Inbox.id == given))
        .limit(1)
    )
    return found
