"""What an operator has to look at: turns that fail, that are stuck, and a refused engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.services import is_alive

SHOWN_S: Final = 24 * 3600.0  # how long a failed turn is shown
STUCK_S: Final = 120.0  # a running turn without progress for this long is shown
DETAIL_CHARS_MAX: Final = 300
# The faults that people can't mend, by reason code, in words.
TITLES: Final = {
    "engine_refused": "The engine refuses to work for us",
    "engine_failed": "The engine failed again and again",
    "engine_unavailable": "The engine could not be reached, or broke every answer",
    "queue_full": "The engine took no more requests for minutes",
    "internal": "A fault in the code ended a turn",
    "no_progress": "A turn made no progress and was ended",
    "worker_died": "Workers died of a turn",
    "unknown_agent": "A conversation's agent is not installed",
    "flow_failed": "A flow failed",
    "flow_input": "A flow was given a task that is not its input",
    "flow_edited": "A flow was edited while it ran",
    "out_of_time": "A turn worked for too long and was ended",
}
ENGINE: Final = frozenset({"engine_refused", "engine_failed", "engine_unavailable", "queue_full"})
FAILING_S: Final = 60.0  # a turn that is tried again for this long is shown


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of fault. count: how many turns it ended or holds up; the rest is of the newest.

    detail: the engine's own words or the end of a trace, for people who may read texts.
    """

    code: str
    title: str
    detail: str
    count: int
    at: float
    conversation_id: str


async def problems(
    session: AsyncSession, now: float, *, with_texts: bool = True
) -> tuple[Problem, ...]:
    """The faults of the last day, the newest first, without those of an engine that works again."""
    found = [
        *await _stuck(session, now),
        *await _failing(session, now),
        *await _failed(session, now),
    ]
    found.sort(key=lambda problem: -problem.at)
    if with_texts:
        return tuple(found)
    return tuple(Problem(p.code, p.title, "", p.count, p.at, p.conversation_id) for p in found)


async def engine_refusal(session: AsyncSession, now: float) -> str:
    """Why the engine in use refuses to work, in its own words; empty when it works."""
    failed = await _failed(session, now)
    refused = next((problem for problem in failed if problem.code == "engine_refused"), None)
    return "" if refused is None else f"refuses our requests: {refused.detail or 'no reason given'}"


async def _failed(session: AsyncSession, now: float) -> Sequence[Problem]:
    turns = models.Turn
    counted = await session.execute(
        select(turns.reason_code, func.count(), func.max(turns.finished_at))
        .where(
            turns.state == "failed",
            turns.reason_code.in_(TITLES),
            turns.finished_at >= now - SHOWN_S,
            turns.finished_at.is_not(None),
        )
        .group_by(turns.reason_code)
    )
    found = []
    for code, count, latest in counted.all():
        at = float(latest or 0.0)
        if code in ENGINE and await _is_over(session, at):
            continue
        newest = await session.scalar(
            select(turns)
            .where(turns.state == "failed", turns.reason_code == code, turns.finished_at == latest)
            .limit(1)
        )
        if newest is not None:
            detail = _last_line(newest.error)
            found.append(Problem(code, TITLES[code], detail, count, at, newest.conversation_id))
    return found


async def _is_over(session: AsyncSession, at: float) -> bool:
    """Whether the engine answered since, or the worker was started with other settings, maybe."""
    worker = await session.get(models.ServiceHeartbeat, "worker")
    if worker is not None and worker.started_at > at:
        return True
    answered = select(models.TurnStep.turn_id).where(models.TurnStep.created_at > at).limit(1)
    return await session.scalar(answered) is not None


async def _stuck(session: AsyncSession, now: float) -> Sequence[Problem]:
    """Running turns without progress. While no worker lives, that is said by its health."""
    worker = await session.get(models.ServiceHeartbeat, "worker")
    if worker is None or not is_alive(worker.seen_at, now):
        return ()
    rows = (
        await session.execute(
            select(models.Turn.conversation_id, models.RunProgress.updated_at)
            .join(models.RunProgress, models.RunProgress.turn_id == models.Turn.id)
            .where(models.Turn.state == "running", models.RunProgress.updated_at <= now - STUCK_S)
            .order_by(models.RunProgress.updated_at)
        )
    ).all()
    if not rows:
        return ()
    conversation_id, since = rows[0]
    detail = f"no sign of progress for {round((now - since) / 60)} min"
    return (
        Problem("stuck", "A turn makes no progress", detail, len(rows), since, conversation_id),
    )


async def _failing(session: AsyncSession, now: float) -> Sequence[Problem]:
    """Running turns whose last attempt failed; they are tried again."""
    where = (
        models.Turn.state == "running",
        func.length(models.Turn.error) > 0,  # forgotten with the next step that succeeds
        models.Turn.started_at <= now - FAILING_S,
    )
    count = await session.scalar(select(func.count()).select_from(models.Turn).where(*where))
    newest = await session.scalar(
        select(models.Turn).where(*where).order_by(models.Turn.started_at.desc()).limit(1)
    )
    if newest is None:
        return ()
    detail = _last_line(newest.error)
    title = "A turn fails and is tried again"
    return (Problem("failing", title, detail, count or 1, now, newest.conversation_id),)


def _last_line(error: str) -> str:
    """The line of a trace that says what was raised; engines' words are one line."""
    lines = [line for line in error.strip().splitlines() if line.strip()]
    return lines[-1].strip()[:DETAIL_CHARS_MAX] if lines else ""
