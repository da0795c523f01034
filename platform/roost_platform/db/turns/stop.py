"""Recording stops: `/stop`, the button, the console and the API record one before anything acts."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import CursorResult, bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.commands import agents_line, dropped_line, stop_answer
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.enqueue import enqueue
from roost_platform.db.locks import open_turn
from roost_platform.db.reasons import WORDS
from roost_platform.db.turns.children.ending import end_child
from roost_platform.db.turns.children.stopping import StoppedBelow, live_below, stop_tasks
from roost_platform.db.turns.dropping import (
    NOTHING,
    Undelivered,
    drop_undelivered,
    notice_text,
    remember_notice,
)
from roost_platform.db.turns.end import ending_of, settle
from roost_platform.db.turns.flow_entries import has_compensations
from roost_platform.db.turns.parking import is_waiting
from roost_platform.db.turns.scheduled.ends import stop_jobs
from roost_platform.queueing import INTERRUPTED

# Which answers a stop ends: all, those of which the person has seen a part, or none.
Delivery = Literal["all", "begun", "none"]
STOPPED_HEAD = "Stopped"
INTERRUPTED_HEAD = "Interrupted"
# Between two looks for stops: progress is written many times a second, and each write is news.
LOOK_EVERY_S = 0.03
LOOK_AGAIN_S = 5.0
_STOPPED = select(models.Turn.id).where(
    models.Turn.id.in_(bindparam("ids", expanding=True)), models.Turn.stop_requested_at.is_not(None)
)


@dataclass(frozen=True, slots=True)
class Stopped:
    """What a stop applied to. turn_id: the turn that ran or waited, None when there was none.
    runs: the conversations in which something runs that has to hear of it.

    dropped: messages that waited. undelivered: answers whose delivery ended. endings: how turns
    ended whose final message was among them, in words. agents: how many that worked below.
    """

    conversation_id: str
    turn_id: str | None
    dropped: int
    undelivered: Undelivered = NOTHING
    endings: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    agents: int = 0

    @property
    def found_something(self) -> bool:
        """Whether a turn was stopped, a message dropped or a delivery ended."""
        is_work = self.turn_id is not None or self.agents > 0
        return is_work or self.dropped > 0 or bool(self.undelivered.ids)

    @property
    def answer(self) -> str:
        """What people are told; empty where the turn's own final message is answer enough."""
        if self.undelivered.ids:
            return notice_text(self.undelivered, STOPPED_HEAD, self.tail)
        if self.agents and self.turn_id is None:
            return self.tail
        return stop_answer(self.dropped, was_running=self.turn_id is not None)

    @property
    def tail(self) -> str:
        """What follows the figure of what was delivered."""
        agents = "" if self.turn_id else agents_line(self.agents)
        return " ".join(filter(None, (*self.endings, agents, dropped_line(self.dropped))))


async def record_stop(
    session: AsyncSession,
    conversation: models.Conversation,
    by: str,
    now: float,
    *,
    before: int | None = None,
    delivery: Delivery = "all",
    cause: str = "",
) -> Stopped:
    """Mark the running turn stopped, drop the messages that wait before `before`, and end the
    delivery of answers.

    The conversation is locked. before: an inbox sequence number; None drops all.
    cause: who stops, a code of endings.STOPPERS; empty for the person in the chat.
    """
    below = await _stop_below(session, await live_below(session, conversation), by, cause, now)
    turn = await open_turn(session, conversation.id)
    runs = list(below.runs)
    if turn is not None:
        runs += await stop_turn(session, turn, by, cause, now)
    jobs = await stop_jobs(session, conversation)
    for job in jobs:
        runs += await stop_turn(session, job, by, cause, now)
    waiting = [
        models.Inbox.conversation_id == conversation.id,
        models.Inbox.state == "pending",
    ]
    if before is not None:
        waiting.append(models.Inbox.sequence < before)
    result = await session.execute(
        update(models.Inbox)
        .where(*waiting)
        .values(state="dropped", reason_code="stopped", reason=WORDS["stopped"])
        .execution_options(synchronize_session=False)
    )
    dropped = result.rowcount if isinstance(result, CursorResult) else 0
    if turn is None:  # a child that has not begun
        await end_child(session, conversation, "stopped", "", cause, now)
    undelivered = NOTHING
    if delivery != "none":
        begun = delivery == "begun"
        undelivered = await drop_undelivered(session, conversation, now, only_begun=begun)
    endings = [await ending_of(session, entry_id) for entry_id in undelivered.ids]
    return Stopped(
        conversation.id,
        None if turn is None else turn.id,
        dropped,
        undelivered,
        tuple(filter(None, endings)),
        tuple(runs),
        below.agents + len(jobs),
    )


async def stop_turn(
    session: AsyncSession, turn: models.Turn, by: str, cause: str, now: float
) -> list[str]:
    """Stop a turn; its conversation, if something runs there that has to hear of it.

    What only waits ends here and now: there is nobody who could hear of a stop.
    """
    if turn.stop_requested_at is None or turn.reason_code == INTERRUPTED:
        turn.stop_requested_at, turn.stop_requested_by, turn.reason_code = now, by, cause
    if turn.state == "running" or await has_compensations(session, turn.id):
        return [turn.conversation_id]
    await settle(session, turn.id, "stopped", "stopped", now)
    return []


async def _stop_below(
    session: AsyncSession,
    tasks: Sequence[models.ChildTask],
    by: str,
    cause: str,
    now: float,
) -> StoppedBelow:
    async def end(session: AsyncSession, turn: models.Turn) -> object:
        return await settle(session, turn.id, "stopped", "stopped", now)

    return await stop_tasks(session, tasks, by, cause, now, end, has_compensations)


async def interrupt(session: AsyncSession, conversation: models.Conversation, now: float) -> bool:
    """Stop the running turn for a newer message, which then gets a turn; False if none ran.

    One that waits for a person, an agent or a time goes on, as it does once nothing else of it
    runs. An answer of which the person has seen the beginning ends there, too, and they are told.
    One of which they have seen nothing is finished work, and goes out.
    """
    turn = await open_turn(session, conversation.id)
    if turn is not None and await is_waiting(session, turn.id):
        return False
    undelivered = await drop_undelivered(session, conversation, now, only_begun=True)
    if undelivered.ids:
        key = f"interrupted:{undelivered.ids[0]}"
        await tell_undelivered(session, conversation, undelivered, INTERRUPTED_HEAD, key, now)
    if turn is None or turn.state != "running" or turn.stop_requested_at is not None:
        return False
    turn.stop_requested_at, turn.stop_requested_by = now, INTERRUPTED
    turn.reason_code = INTERRUPTED
    return True


async def tell_undelivered(
    session: AsyncSession,
    conversation: models.Conversation,
    undelivered: Undelivered,
    head: str,
    dedupe_key: str,
    now: float,
) -> None:
    """Queue the notice of how much was sent of what is not delivered further."""
    notice_id = await enqueue(
        session,
        conversation,
        kind="notice",
        body=notice_text(undelivered, head, ""),
        dedupe_key=dedupe_key,
        now=now,
    )
    await remember_notice(session, undelivered, notice_id, head, "")


async def tell_dropped(
    session: AsyncSession, conversation: models.Conversation, stopped: Stopped, now: float
) -> None:
    """Queue a notice about what a stop from outside the chat dropped."""
    if conversation.kind != "chat":
        return  # nobody reads there
    if stopped.dropped or stopped.undelivered.ids or (stopped.agents and not stopped.turn_id):
        notice_id = await enqueue(
            session,
            conversation,
            kind="notice",
            body=stopped.answer,
            dedupe_key=f"dropped:{conversation.id}:{conversation.inbox_sequence}:{now}",
            now=now,
        )
        if stopped.undelivered.ids:
            await remember_notice(
                session, stopped.undelivered, notice_id, STOPPED_HEAD, stopped.tail
            )


async def waiting_count(session: AsyncSession, conversation_id: str) -> int:
    """How many messages wait for a turn."""
    count = await session.scalar(
        select(func.count())
        .select_from(models.Inbox)
        .where(models.Inbox.conversation_id == conversation_id, models.Inbox.state == "pending")
    )
    return count or 0


class StopNews:
    """Implements `roost_workflows.storage.ends.RecordedStops`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def among(
        self, running: Callable[[], Collection[str]]
    ) -> AsyncGenerator[frozenset[str], None]:
        """See `RecordedStops.among`."""
        await asyncio.sleep(LOOK_EVERY_S)  # what ends at once costs no look
        version = await self._database.version()
        while True:
            async with self._database.read() as session:
                stopped = frozenset(await session.scalars(_STOPPED, {"ids": list(running())}))
            yield stopped
            version = await self._database.changed_since(version, LOOK_AGAIN_S)
            await asyncio.sleep(LOOK_EVERY_S)
