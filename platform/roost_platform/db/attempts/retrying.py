"""An operator has a failed turn tried again: the same turn goes on behind what it has done."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.attempts.forking import fork_point
from roost_platform.db.attempts.journal import reopen
from roost_platform.db.attempts.refusals import compensations, refuse_what_is_over
from roost_platform.db.base.committed.told import tell
from roost_platform.db.locks import lock_turn
from roost_platform.db.turns.transcript import RETRIED
from roost_platform.errors import NotAllowed, NotFound

UNDONE: Final = (
    "Its work was undone when it failed. Begin a new run from its journal instead: "
    "`roost flow fork {id} --at {at}`."
)
UNDONE_IN_PART: Final = (
    "Its work was undone in part when it failed, so it can't go on. Look at its journal, then "
    "start it anew."
)


@dataclass(frozen=True, slots=True)
class Retried:
    """A turn that is tried again. retries: how often by now."""

    turn_id: str
    conversation_id: str
    retries: int


async def retry(session: AsyncSession, turn_id: str, operator: str, now: float) -> Retried:
    """Let a failed turn go on behind its last step.

    Calls that have ended keep their results, also those of unknown outcome; what had not begun is
    done now. The limits of a turn count from here. Raises NotFound, and NotAllowed with the reason
    where a new attempt makes no sense.
    """
    turn, conversation = await lock_turn(session, turn_id, running=False)
    await refuse_what_is_over(session, turn, conversation)
    flow = await session.get(models.FlowRun, turn_id)
    if flow is not None:
        await _refuse_undone(session, turn_id)
        flow.finished_at = None
        await reopen(session, turn)
    await _drop_ending(session, turn, operator)
    turn.steps_before = (
        await session.scalar(
            select(func.max(models.TurnStep.step)).where(models.TurnStep.turn_id == turn_id)
        )
        or 0
    )
    turn.state, turn.reason_code, turn.error = "running", "", ""
    turn.resumes, turn.worker_deaths = 0, 0
    turn.retries += 1
    turn.waited_s += max(now - (turn.finished_at or now), 0.0)
    turn.finished_at = None
    await session.execute(
        update(models.RunProgress)
        .where(models.RunProgress.turn_id == turn_id)
        .values(
            phase="queued",
            text="",
            tools=[],
            version=models.RunProgress.version + 1,
            updated_at=now,
        )
    )
    tell(session, "turn retried", turn_id=turn_id, conversation_id=conversation.id)
    return Retried(turn_id, conversation.id, turn.retries)


async def turn_to_retry(session: AsyncSession, given: str) -> str:
    """The turn's id by itself, by a message that it answers, or as the last one of a conversation,
    by its id or key. Raises NotFound.
    """
    by_message = select(models.Inbox.turn_id).where(models.Inbox.id == given)
    found = await session.scalar(
        select(models.Turn.id)
        .join(models.Conversation, models.Conversation.id == models.Turn.conversation_id)
        .where(
            (models.Turn.id == given)
            | models.Turn.id.in_(by_message)
            | (models.Conversation.id == given)
            | (models.Conversation.key == given)
            | (models.Conversation.key == f"console:local:{given}")
        )
        .order_by(models.Turn.number.desc())
        .limit(1)
    )
    if found is None:
        raise NotFound(f"There is no turn {given!r}, and no session with a turn of that name.")
    return found


async def _refuse_undone(session: AsyncSession, turn_id: str) -> None:
    """Raise NotAllowed where the flow's compensations have begun."""
    if not await compensations(session, turn_id):
        return
    try:
        at = await fork_point(session, turn_id)
    except NotAllowed:
        raise NotAllowed(UNDONE_IN_PART) from None
    raise NotAllowed(UNDONE.format(id=turn_id, at=at))


async def _drop_ending(session: AsyncSession, turn: models.Turn, operator: str) -> None:
    """Keep the note of the failure for operators, and out of prompts."""
    row = await session.scalar(
        select(models.Transcript)
        .where(models.Transcript.turn_id == turn.id, models.Transcript.note_kind == "failed")
        .order_by(models.Transcript.position.desc())
        .limit(1)
    )
    if row is not None:
        row.note_kind, row.note = RETRIED, f"{row.note}; tried again by {operator}"
