"""The end of turns that a schedule began: what people hear, and what the schedule learns."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import Media
from roost_platform.db import models
from roost_platform.db.enqueue import enqueue
from roost_platform.db.locks import OPEN_STATES
from roost_platform.db.reasons import WORDS
from roost_platform.db.turns.children.limits import root_of
from roost_platform.db.turns.scheduled.held import say, say_held
from roost_platform.db.turns.scheduled.titles import title_of
from roost_platform.db.turns.transcript import messages
from roost_workflows.ports import TranscriptMessage

# The channel of a conversation in which a job or a check works; nothing is delivered there.
JOB_CHANNEL: Final = "schedule"
FAILS_MAX: Final = 5  # like failures in a row; then the schedule is paused
BAD_ANSWER: Final = "bad_answer"  # a check answered in another form than the one it was given
STOPPED: Final = "stopped"
UNDELIVERABLE: Final = "undeliverable"
PAUSED: Final = (
    "I paused “{title}”: it failed {count} times in a row. "
    "/schedules shows it; resume it there when the cause is gone."
)
# The answer of a check. Grammars of engines follow it, so it needs no word that means silence.
CHECK_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"notify": {"type": "boolean"}, "text": {"type": "string"}},
    "required": ["notify", "text"],
    "additionalProperties": False,
}

# Every turn's end asks, and nearly always finds nothing.
_BEGAN = (
    select(models.Occurrence, models.Schedule)
    .join(models.Inbox, models.Inbox.id == models.Occurrence.inbox_id)
    .join(models.Schedule, models.Schedule.id == models.Occurrence.schedule_id)
    .where(models.Inbox.turn_id == bindparam("id"), models.Inbox.kind == "schedule")
)
_OTHERS = select(models.Inbox.id).where(
    models.Inbox.turn_id == bindparam("id"), models.Inbox.kind != "schedule"
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of a check."""

    notify: bool
    text: str


def read_verdict(answer: str) -> Verdict | None:
    """The verdict that a check answered with; None for anything else."""
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or set(found) != {"notify", "text"}:
        return None
    if not isinstance(found["notify"], bool) or not isinstance(found["text"], str):
        return None
    return Verdict(found["notify"], found["text"].strip())


@dataclass(frozen=True, slots=True)
class ReadByJob:
    """What a model call of a job adds to its own transcript.

    before: what was said in the chat until a check began; a job reads its task alone.
    schema: of the answer, None for text.
    """

    before: tuple[TranscriptMessage, ...] = ()
    schema: dict[str, Any] | None = None


async def read_by_job(session: AsyncSession, job: models.Conversation) -> ReadByJob:
    """What a job reads beyond its own transcript: always the same, so that it stays computed."""
    if "fork" not in job.settings:
        return ReadByJob()
    session_id, end = job.settings["fork"]
    return ReadByJob(tuple(await messages(session, session_id, end)), CHECK_SCHEMA)


async def fork_of(session: AsyncSession, chat: models.Conversation) -> dict[str, Any]:
    """The settings of a check's conversation: where in the chat's session it forks off."""
    current = (
        None if chat.session_id is None else await session.get(models.Session, chat.session_id)
    )
    return {"fork": ["", 0] if current is None else [current.id, current.transcript_length]}


async def stop_jobs(session: AsyncSession, chat: models.Conversation) -> Sequence[models.Turn]:
    """Drop the chat's jobs that have not begun; the turns of those that have."""
    of_chat = select(models.Conversation.id).where(
        models.Conversation.root_id == chat.id, models.Conversation.kind == "job"
    )
    turns = await session.scalars(
        select(models.Turn).where(
            models.Turn.conversation_id.in_(of_chat), models.Turn.state.in_(OPEN_STATES)
        )
    )
    await session.execute(
        update(models.Inbox)
        .where(models.Inbox.conversation_id.in_(of_chat), models.Inbox.state == "pending")
        .values(state="dropped", reason_code="stopped", reason=WORDS["stopped"])
        .execution_options(synchronize_session=False)
    )
    return turns.all()


async def deliver(
    session: AsyncSession,
    turn: models.Turn,
    job: models.Conversation,
    answer: str,
    body: str,
    media: Sequence[Media],
    now: float,
) -> None:
    """Send the answer of a job to its chat; of a check only what it wants to be told.

    answer: as the model wrote it; body: as people read it. Both conversations are locked.
    """
    occurrence = await session.get_one(models.Occurrence, job.chat)
    schedule = await session.get_one(models.Schedule, occurrence.schedule_id)
    if schedule.kind == "check":
        verdict = read_verdict(answer)
        if verdict is None or (verdict.notify and not verdict.text):
            occurrence.state, occurrence.reason = "failed", BAD_ANSWER
            return
        occurrence.result = {"notify": verdict.notify}
        if not verdict.notify:
            return
        body = answer = verdict.text
    chat = await session.get_one(models.Conversation, schedule.conversation_id)
    occurrence.outbox_id = await enqueue(
        session,
        chat,
        kind="answer" if body or media else "notice",
        body=body,
        dedupe_key=f"turn:{turn.id}:answer",
        now=now,
        media=media,
    )
    await say(session, chat, schedule, occurrence, answer, now)


async def where_to_tell(
    session: AsyncSession, turn: models.Turn, conversation: models.Conversation
) -> models.Conversation | None:
    """The chat that hears how a turn without an answer ended; None where it has heard of the same
    failure of this schedule before.
    """
    began = (await session.execute(_BEGAN, {"id": turn.id})).all()
    if not began:
        return await root_of(session, conversation)
    is_known = all(schedule.fails > 1 for _, schedule in began)
    has_others = await session.scalar(_OTHERS.limit(1), {"id": turn.id}) is not None
    if is_known and not has_others and turn.state == "failed":
        return None
    return await root_of(session, conversation)


async def note_end(
    session: AsyncSession, turn: models.Turn, state: str, reason: str, now: float
) -> None:
    """Tell the schedules that began the turn how it ended, and its transcript what jobs said until
    then; pause one that fails again and again.
    """
    await say_held(session, turn, now)
    for occurrence, schedule in (await session.execute(_BEGAN, {"id": turn.id})).all():
        occurrence.turn_id = turn.id
        code = occurrence.reason if occurrence.state == "failed" else ""
        if state != "done":
            code = reason if state == "failed" else STOPPED
        occurrence.state, occurrence.reason = ("failed" if code else "done"), code
        if code != STOPPED:
            await count_failure(session, schedule, code, now)


async def count_failure(
    session: AsyncSession, schedule: models.Schedule, code: str, now: float
) -> None:
    """Count a failure, or with an empty code forget them; the fifth of a kind pauses the schedule,
    and its chat is told once. The chat is locked.

    A turn that ended well tells nothing of whether its answer arrives.
    """
    if not code:
        if schedule.fail_code != UNDELIVERABLE:
            schedule.fails, schedule.fail_code = 0, ""
        return
    schedule.fails = schedule.fails + 1 if code == schedule.fail_code else 1
    schedule.fail_code = code
    if schedule.fails < FAILS_MAX or schedule.state != "active":
        return
    schedule.state = "paused"
    chat = await session.get_one(models.Conversation, schedule.conversation_id)
    await tell_paused(session, schedule, chat, now)


async def tell_paused(
    session: AsyncSession, schedule: models.Schedule, chat: models.Conversation, now: float
) -> None:
    """Say in the chat that the schedule was paused, and why."""
    await enqueue(
        session,
        chat,
        kind="notice",
        body=PAUSED.format(title=title_of(schedule), count=schedule.fails),
        dedupe_key=f"paused:{schedule.id}:{now}",
        now=now,
    )
