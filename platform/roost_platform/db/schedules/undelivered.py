"""A reminder or a result that could not be delivered: its owner hears of it in another chat."""

from typing import Final

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.enqueue import enqueue
from roost_platform.db.locks import lock_conversation
from roost_platform.db.turns.scheduled.ends import FAILS_MAX, UNDELIVERABLE, tell_paused
from roost_platform.db.turns.scheduled.titles import title_of
from roost_platform.db.waits.unreachable import other_chats

ELSEWHERE: Final = "elsewhere"
NOBODY: Final = "nobody"
TITLE_ALONE: Final = "The {kind} “{title}” could not be delivered in the group where it belongs."
WHOLE: Final = "{text}\n\n_This could not be delivered in your other chat ({channel})._"
IN_DOUBT: Final = "{text}\n\n_This may not have arrived in your other chat ({channel})._"


async def lock_schedule_of(session: AsyncSession, entry_id: str) -> None:
    """Lock the chat of the schedule from which a message comes, before the message is locked."""
    chat_id = await session.scalar(
        select(models.Schedule.conversation_id)
        .join(models.Occurrence, models.Occurrence.schedule_id == models.Schedule.id)
        .where(_is_of(entry_id))
        .limit(1)
    )
    if chat_id is not None:
        await lock_conversation(session, chat_id)


async def message_failed(session: AsyncSession, entry: models.Outbox, now: float) -> None:
    """Tell the owner elsewhere, once, and pause a schedule of which nothing arrives any more.

    Where there is no other chat, operators see it in its history and among failed deliveries.
    """
    if entry.state != "failed" or entry.edits_id is not None:
        return
    found = (
        await session.execute(
            select(models.Occurrence, models.Schedule)
            .join(models.Schedule, models.Schedule.id == models.Occurrence.schedule_id)
            .where(_is_of(entry.id), models.Occurrence.told == "")
            .order_by(models.Occurrence.id)
            .execution_options(populate_existing=True)
        )
    ).all()
    for occurrence, schedule in found:
        chats = await other_chats(session, schedule.owner_id, entry.conversation_id)
        if occurrence.state != "failed":  # else a failed turn is the cause, and stays it
            occurrence.state, occurrence.reason = "failed", UNDELIVERABLE
        occurrence.told = ELSEWHERE if chats else NOBODY
        if chats:
            body = await _words(session, entry, schedule)
            key = f"undelivered:{entry.id}"
            await enqueue(session, chats[0], kind="notice", body=body, dedupe_key=key, now=now)
        await session.flush()
        schedule.fails, schedule.fail_code = await _in_a_row(session, schedule), UNDELIVERABLE
        if schedule.fails >= FAILS_MAX and schedule.state == "active":
            schedule.state = "paused"
            if chats:
                await tell_paused(session, schedule, chats[0], now)


async def forget_if_delivered(session: AsyncSession, schedule: models.Schedule) -> None:
    """Forget that nothing arrived, once something did."""
    if schedule.fail_code == UNDELIVERABLE and not await _in_a_row(session, schedule):
        schedule.fails, schedule.fail_code = 0, ""


async def _in_a_row(session: AsyncSession, schedule: models.Schedule) -> int:
    """How many of the newest times did not arrive, one after the other."""
    states = await session.execute(
        select(models.Occurrence.reason)
        .where(models.Occurrence.schedule_id == schedule.id, models.Occurrence.state != "skipped")
        .order_by(models.Occurrence.fired_at.desc(), models.Occurrence.scheduled_for.desc())
        .limit(FAILS_MAX)
    )
    count = 0
    for (reason,) in states:
        if reason != UNDELIVERABLE:
            break
        count += 1
    return count


async def _words(session: AsyncSession, entry: models.Outbox, schedule: models.Schedule) -> str:
    """The message itself; of a group only its title, as what is said there stays there."""
    chat = await session.get_one(models.Conversation, entry.conversation_id)
    if chat.is_group:
        return TITLE_ALONE.format(kind=schedule.kind, title=title_of(schedule))
    in_doubt = await session.scalar(
        select(models.Part.id).where(
            models.Part.outbox_id == entry.id, models.Part.reason_code == "outcome_unknown"
        )
    )
    form = WHOLE if in_doubt is None else IN_DOUBT
    return form.format(text=entry.text, channel=chat.channel)


def _is_of(entry_id: str) -> ColumnElement[bool]:
    """The times whose message it is: sent for them, or the end of a turn that they began."""
    turn = select(models.Outbox.turn_id).where(
        models.Outbox.id == entry_id, models.Outbox.kind.in_(("answer", "error"))
    )
    return or_(
        models.Occurrence.outbox_id == entry_id,
        models.Occurrence.turn_id.in_(turn),
    )
