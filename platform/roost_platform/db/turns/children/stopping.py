"""Stopping agents that work for others: a whole tree at once, or what a turn leaves behind."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.locks import OPEN_STATES
from roost_platform.db.reasons import WORDS
from roost_platform.db.turns.children.limits import DEPTH_MAX
from roost_workflows.ports import CALL_ENDED

# Settles a turn that only waits, now: see end.settle.
Settle = Callable[[AsyncSession, models.Turn], Awaitable[object]]
# Whether a turn that waits has to run once more, to undo what it did.
Resumes = Callable[[AsyncSession, str], Awaitable[bool]]


# A call that runs and may have an effect outside.
_ACTS = (
    select(models.ToolCall.call_id)
    .where(
        models.ToolCall.turn_id == bindparam("id"),
        models.ToolCall.state == "running",
        models.ToolCall.effect != "pure",
    )
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class StoppedBelow:
    """What a stop found below a conversation. agents: how many were stopped; runs: the
    conversations in which something runs that has to hear of it.
    """

    agents: int = 0
    runs: tuple[str, ...] = ()


async def live_below(
    session: AsyncSession, conversation: models.Conversation
) -> Sequence[models.ChildTask]:
    """The tasks of all agents that work below a conversation, the nearest first."""
    if conversation.kind == "chat":
        return await _live(session, models.ChildTask.root_id == conversation.id)
    found: list[models.ChildTask] = []
    above = [conversation.id]
    for _ in range(DEPTH_MAX):
        parents = models.ChildTask.parent_id.in_(above)
        found += await _live(session, parents)
        ids = select(models.ChildTask.conversation_id).where(parents)
        above = list(await session.scalars(ids))
        if not above:
            break
    return found


async def left_behind(session: AsyncSession, turn: models.Turn) -> Sequence[models.ChildTask]:
    """The tasks for whose answers the turn waits."""
    task = models.ChildTask
    return await _live(session, task.parent_turn_id == turn.id, task.is_waited)


async def stop_tasks(
    session: AsyncSession,
    tasks: Sequence[models.ChildTask],
    by: str,
    cause: str,
    now: float,
    settle: Settle,
    resumes: Resumes,
) -> StoppedBelow:
    """Stop these agents, the deepest first. Their answers go nowhere: who waited is over, too.

    The tree is locked. What waits, thinks or looks something up ends here and now, and what a
    worker still computes for it is for nobody. Where a call may have an effect outside, the worker
    ends the turn, because it knows more of that call.
    """
    for task in tasks:
        task.state, task.reason, task.finished_at = "stopped", cause, now
    ids = [task.conversation_id for task in tasks]
    if not ids:
        return StoppedBelow()
    await session.execute(
        update(models.Inbox)
        .where(models.Inbox.conversation_id.in_(ids), models.Inbox.state == "pending")
        .values(state="dropped", reason_code="stopped", reason=WORDS["stopped"])
        .execution_options(synchronize_session=False)
    )
    turns = await session.scalars(
        select(models.Turn)
        .join(models.Conversation, models.Conversation.id == models.Turn.conversation_id)
        .where(models.Turn.conversation_id.in_(ids), models.Turn.state.in_(OPEN_STATES))
        .order_by(models.Conversation.depth.desc(), models.Turn.id)
    )
    runs = []
    for turn in turns.all():
        if turn.stop_requested_at is None:
            turn.stop_requested_at, turn.stop_requested_by, turn.reason_code = now, by, cause
        has_more = await resumes(session, turn.id)
        if turn.state == "running" or has_more:
            runs.append(turn.conversation_id)
        if not has_more and not await session.scalar(_ACTS, {"id": turn.id}):
            await settle(session, turn)
    return StoppedBelow(len(ids), tuple(runs))


async def calls_stopped_with(
    session: AsyncSession, turn: models.Turn
) -> tuple[int, Sequence[tuple[str, str]]]:
    """How many agents were stopped together with this turn, and the (tool, state) of their calls.

    A call that still runs somewhere is told as what its end will be by its effect.
    """
    if turn.stop_requested_at is None:
        return 0, ()
    task = models.ChildTask
    mine: list[ColumnElement[bool]] = [
        task.root_id == turn.conversation_id,
        task.state == "stopped",
        task.finished_at == turn.stop_requested_at,
    ]
    ids = list(await session.scalars(select(task.conversation_id).where(*mine)))
    if not ids:
        return 0, ()
    call = models.ToolCall
    rows = await session.execute(
        select(call.name, call.state, call.effect)
        .join(models.Turn, models.Turn.id == call.turn_id)
        .where(models.Turn.conversation_id.in_(ids), call.wait != "child")
        .order_by(call.turn_id, call.step, call.position)
    )
    return len(ids), [(name, _end_of(state, effect)) for name, state, effect in rows]


def _end_of(state: str, effect: str) -> str:
    if state in CALL_ENDED:
        return state
    if state != "running":
        return "skipped"
    return "cancelled" if effect == "pure" else "unknown"


async def _live(session: AsyncSession, *where: Any) -> Sequence[models.ChildTask]:
    rows = await session.scalars(
        select(models.ChildTask)
        .where(models.ChildTask.state == "running", *where)
        .order_by(models.ChildTask.created_at, models.ChildTask.conversation_id)
    )
    return rows.all()
