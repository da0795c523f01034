"""What jobs said enters the transcript of their chat: at once, or when its turn is over."""

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.base.text import quoted
from roost_platform.db.conversations.sessions import current_session
from roost_platform.db.locks import open_turn
from roost_platform.db.turns.scheduled.titles import title_of
from roost_platform.db.turns.transcript import append

# Every turn's end asks, and nearly always finds nothing.
_HELD = (
    select(models.Occurrence, models.Schedule)
    .join(models.Schedule, models.Schedule.id == models.Occurrence.schedule_id)
    .outerjoin(models.Outbox, models.Outbox.id == models.Occurrence.outbox_id)
    .where(models.Occurrence.held_turn_id == bindparam("id"))
    .order_by(models.Outbox.sequence, models.Occurrence.id)
)


async def say(
    session: AsyncSession,
    chat: models.Conversation,
    schedule: models.Schedule,
    occurrence: models.Occurrence,
    text: str,
    now: float,
) -> None:
    """Let the chat's agent know what was sent in its name. The chat is locked.

    A turn that runs or waits there is not interrupted: its model would find an answer of its own
    between a question and what it does about it.
    """
    chat_session = await current_session(session, chat, now)
    turn = await open_turn(session, chat.id)
    if turn is not None and turn.session_id == chat_session.id:
        occurrence.held_turn_id = turn.id
        occurrence.held_text = "\n\n".join(filter(None, (occurrence.held_text, text)))
        return
    await session.flush()
    await append(session, chat_session, [_said(schedule, text, now)])


async def say_held(session: AsyncSession, turn: models.Turn, now: float) -> None:
    """Write down what was held while the turn was not over, in the order in which it was sent."""
    held = (await session.execute(_HELD, {"id": turn.id})).all()
    if not held:
        return
    rows = [_said(schedule, occurrence.held_text, now) for occurrence, schedule in held]
    for occurrence, _ in held:
        occurrence.held_turn_id, occurrence.held_text = None, ""
    await append(session, await session.get_one(models.Session, turn.session_id), rows)


def _said(schedule: models.Schedule, text: str, now: float) -> models.Transcript:
    return models.Transcript(
        turn_id=None,
        role="assistant",
        content=text,
        note_kind="scheduled",
        note=f"the result of your {schedule.kind} {quoted(title_of(schedule))}, sent at its time",
        created_at=now,
    )
