"""What a new attempt takes over of a flow's journal, and what it has to do again."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost.flows.driving import latest_steps, places
from roost_platform.db import models
from roost_platform.db.waits.approvals import latest

# Where nothing came of a step, the next attempt takes it again.
NOTHING_DONE: Final = ("planned", "skipped", "cancelled")
ACTING: Final = ("call", "spawn")
LEVELS_MAX: Final = 8  # more than any tree of agents is deep

_ENTRIES: Final = (
    select(models.ToolCall).where(models.ToolCall.op != "").order_by(models.ToolCall.step)
)


async def entries_of(session: AsyncSession, turn_id: str) -> Sequence[models.ToolCall]:
    """The journal of a flow, in order."""
    return (await session.scalars(_ENTRIES.where(models.ToolCall.turn_id == turn_id))).all()


def took_effect(call: models.ToolCall) -> bool:
    """Whether the entry may have done something outside, as an agent that worked for it may."""
    is_act = call.op == "spawn" or (call.op == "call" and call.effect != "pure")
    return is_act and call.state in ("ok", "unknown")


async def settle_agents(session: AsyncSession, calls: Sequence[models.ToolCall]) -> None:
    """Call the outcome of each cancelled agent unknown where it may have done something outside."""
    for call in calls:
        if call.op == "spawn" and call.state == "cancelled" and await _acted(session, call):
            call.state = "unknown"


async def reopen(session: AsyncSession, turn: models.Turn) -> None:
    """Let the failed flow take again the steps of which nothing came, and keep all others.

    A step that failed is taken again where the flow could not go on behind it, but never an unsafe
    call: an error of it may have come after its effect. What a person denied stays denied.
    """
    calls = await entries_of(session, turn.id)
    await settle_agents(session, calls)
    last = latest_steps([call.call_id for call in calls])
    for call in calls:
        if (
            call.op == "compensate"
            or call.state in NOTHING_DONE
            or (is_last(call.call_id, last) and await _may_fail_anew(session, call))
        ):
            reset(call)


def reset(call: models.ToolCall) -> None:
    """Let the entry begin as if it never had; its key stays the same."""
    call.state, call.result, call.error, call.wait = "planned", "", "", ""
    call.attempts, call.due_at, call.started_at, call.finished_at = 0, None, None, None


async def _may_fail_anew(session: AsyncSession, call: models.ToolCall) -> bool:
    """Whether the entry failed, and another try harms nobody and overrules nobody."""
    if call.op == "ask":
        return call.state != "ok" or json.loads(call.result or "{}").get("answers") is None
    if call.state != "error" or (call.op == "call" and call.effect == "unsafe"):
        return False
    if call.op == "spawn":
        return not await _acted(session, call)
    asked = await latest(session, call.turn_id, call.step, call.call_id)
    return asked is None or asked.state != "denied"


async def _acted(session: AsyncSession, call: models.ToolCall) -> bool:
    """Whether the agent that worked for this entry, or one below it, did something outside."""
    task = models.ChildTask
    ids = list(
        await session.scalars(
            select(task.conversation_id).where(
                task.parent_turn_id == call.turn_id,
                task.parent_step == call.step,
                task.parent_call_id == call.call_id,
            )
        )
    )
    for _ in range(LEVELS_MAX):
        if not ids:
            return False
        acted = await session.scalar(
            select(models.ToolCall.call_id)
            .join(models.Turn, models.Turn.id == models.ToolCall.turn_id)
            .where(
                models.Turn.conversation_id.in_(ids),
                models.ToolCall.effect != "pure",
                models.ToolCall.attempts > 0,
            )
            .limit(1)
        )
        if acted is not None:
            return True
        ids = list(
            await session.scalars(select(task.conversation_id).where(task.parent_id.in_(ids)))
        )
    return False


def is_last(path: str, last: Mapping[str, int]) -> bool:
    """Whether the function took no step behind this one: not in its branch, nor behind that."""
    return all(last[frame] == count for frame, count in places(path))
