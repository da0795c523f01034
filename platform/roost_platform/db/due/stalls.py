"""Agents that work for others and make no progress, as a source of the due-clock: they are stopped,
and whoever gave the task reads what they had.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import bindparam, case, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.base.committed.bells import stop_after
from roost_platform.db.base.engine import Database
from roost_platform.db.locks import try_lock_conversation
from roost_platform.db.turns.stop import record_stop
from roost_workflows.turn.endings import STALLED

NO_PROGRESS_S: Final = 600.0
BY: Final = "the clock"

_TASK, _TURN = models.ChildTask, models.Turn
# A call that runs has a time limit of its own, and one that waits may wait for days.
_RUNS = exists().where(models.ToolCall.turn_id == _TURN.id, models.ToolCall.state == "running")
_LAST_STEP = (
    select(func.max(models.TurnStep.created_at))
    .where(models.TurnStep.turn_id == _TURN.id)
    .scalar_subquery()
)
_LAST_CALL = (
    select(func.max(models.ToolCall.finished_at))
    .where(models.ToolCall.turn_id == _TURN.id)
    .scalar_subquery()
)
# When something was last committed for the task. A pause ends with `unpark`, which leaves the time
# in the progress row; the writers of progress move it on, so that it can't be counted here.
_STEP = func.coalesce(_LAST_STEP, _TURN.started_at, _TASK.created_at)
_CALL = func.coalesce(_LAST_CALL, _STEP)
_AT = case((_CALL > _STEP, _CALL), else_=_STEP) + func.coalesce(_TURN.waited_s, 0.0)
_STALLING = (
    select(_TASK.conversation_id, _AT.label("at"))
    .outerjoin(_TURN, _TURN.conversation_id == _TASK.conversation_id)
    .where(
        _TASK.state == "running",
        or_(_TURN.id.is_(None), _TURN.state == "running"),
        or_(_TURN.id.is_(None), _TURN.stop_requested_at.is_(None)),
        ~_RUNS,
    )
    .subquery()
)
_NEXT = select(func.min(_STALLING.c.at))
_DUE = (
    select(_STALLING.c.conversation_id, _STALLING.c.at)
    .where(_STALLING.c.at <= bindparam("since"))
    .order_by(_STALLING.c.at)
    .limit(bindparam("most"))
)
_STILL = _DUE.where(_STALLING.c.conversation_id == bindparam("id"))


class StalledAgents:
    """Implements `roost_platform.dueclock.DueSource`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._passed = database.passed

    async def next_due(self) -> float | None:
        """See `DueSource.next_due`."""
        async with self._database.read() as session:
            at = await session.scalar(_NEXT, {})
        if at is None:
            return None
        return self._database.now() + NO_PROGRESS_S - self._passed.since(float(at))

    async def fire(self, now: float, limit: int) -> Sequence[str]:
        """See `DueSource.fire`. Those in which something runs are told to stop by the bell."""
        since = {"since": now - NO_PROGRESS_S}
        async with self._database.read() as session:
            silent = (await session.execute(_DUE, {**since, "most": limit})).all()
        due = [id for id, at in silent if self._passed.since(float(at)) >= NO_PROGRESS_S]
        for conversation_id in due:
            async with self._database.write() as session:
                await self._stop(session, conversation_id, since, now)
        return []

    async def _stop(
        self, session: AsyncSession, conversation_id: str, since: dict[str, float], now: float
    ) -> None:
        conversation = await try_lock_conversation(session, conversation_id)
        again = {**since, "most": 1, "id": conversation_id}
        if conversation is None or await session.scalar(_STILL, again) is None:
            return  # it went on meanwhile, or another clock was here
        stopped = await record_stop(session, conversation, BY, now, cause=STALLED)
        for run in stopped.runs:
            stop_after(session, run)
