"""Deletes what was said and done longer ago than an installation keeps it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Self

from sqlalchemy import ColumnElement, delete, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.gateway.expiry import delete_expired
from roost_platform.db.locks import OPEN_STATES
from roost_platform.gateway.config import GatewayConfig
from roost_platform.settings.sections import RetentionConfig

FIRST_S: Final = 600.0  # after the start, when there is other work
EVERY_S: Final = 86_400.0
DAY_S: Final = 86_400.0
BATCH: Final = 100  # turns, messages or deliveries in one transaction; others write in between
CALLS_BATCH: Final = 500  # calls of the gateway, which are one row each
BATCHES_MAX: Final = 2_000  # of one sweep; what is left is for the next day
PAUSE_S: Final = 0.05
ENDED_EVENTS: Final = ("done", "dropped", "ignored")

DeleteBatch = Callable[[AsyncSession, float], Awaitable[int]]

log = logging.getLogger(__name__)


class Retention:
    """Deletes, once a day, what was finished more than `days` ago, and calls of the gateway that
    began more than `usage_days` ago; None keeps it for ever.

    A turn goes as a whole: its transcript, model calls, tool calls and deliveries. What is under
    way stays, and so do conversations, people, the audit trail, and files, which have a time of
    their own. Stored responses of the gateway go at the time that each of them names.
    """

    def __init__(
        self, database: Database, days: float | None, usage_days: float | None = None
    ) -> None:
        self._database = database
        self._days = days
        self._usage_days = usage_days

    @classmethod
    def of(cls, database: Database, retention: RetentionConfig, gateway: GatewayConfig) -> Self:
        """As the settings say."""
        return cls(database, retention.conversations_days, gateway.usage_days)

    async def run(self) -> None:
        """Sweep for ever; a sweep that fails is logged and tried again a day later."""
        await asyncio.sleep(FIRST_S)
        while True:
            try:
                await self.sweep()
            except Exception:
                log.exception("deleting what is kept no longer failed")
            await asyncio.sleep(EVERY_S)

    async def sweep(self) -> int:
        """Delete what is due, at most BATCHES_MAX batches of each kind; how many turns, messages
        and calls of the gateway went.
        """
        await delete_expired(self._database)
        gone = await self._batches(_delete_batch, self._days)
        gone += await self._batches(_delete_calls, self._usage_days)
        if gone:
            extra = {"rows": gone, "days": self._days, "usage_days": self._usage_days}
            log.info("deleted what is kept no longer", extra=extra)
        return gone

    async def _batches(self, delete_batch: DeleteBatch, days: float | None) -> int:
        gone = 0
        if days is None:
            return gone
        before = self._database.now() - days * DAY_S
        for _ in range(BATCHES_MAX):
            async with self._database.write() as session:
                batch = await delete_batch(session, before)
            gone += batch
            if batch == 0:
                break
            await asyncio.sleep(PAUSE_S)
        return gone


async def _delete_batch(session: AsyncSession, before: float) -> int:
    turns = await _ids(session, models.Turn, _ended(before))
    if turns:
        await _delete_messages(session, models.Outbox.turn_id.in_(turns))
        for child in (
            models.RunProgress,
            models.StatusMessageRow,
            models.FlowRun,
            models.ToolCall,
            models.TurnStep,
            models.Transcript,
        ):
            await session.execute(delete(child).where(child.turn_id.in_(turns)))
        await session.execute(delete(models.Budget).where(models.Budget.root_turn_id.in_(turns)))
        await _delete_events(session, models.Inbox.turn_id.in_(turns))
        await _delete_questions(session, turns)
        await session.execute(delete(models.Turn).where(models.Turn.id.in_(turns)))
    events = await _ids(session, models.Inbox, _without_turn(before))
    if events:
        await _delete_events(session, models.Inbox.id.in_(events))
    times = await _ids(session, models.Occurrence, [models.Occurrence.fired_at < before])
    if times:
        await session.execute(delete(models.Occurrence).where(models.Occurrence.id.in_(times)))
    messages = await _ids(session, models.Outbox, _notices(before))
    if messages:
        await _delete_messages(session, models.Outbox.id.in_(messages))
    said = models.Transcript
    words = await _ids(session, said, [said.turn_id.is_(None), said.created_at < before])
    if words:
        await session.execute(delete(said).where(said.id.in_(words)))
    tasks = await _delete_tasks(session, before)
    return len(turns) + len(events) + len(times) + len(messages) + len(words) + tasks


async def _delete_calls(session: AsyncSession, before: float) -> int:
    """Delete calls of the gateway; one that runs stays, for what it holds has to be released."""
    call = models.GatewayCall
    ids = await session.scalars(
        select(call.id).where(call.started_at < before, call.outcome != "").limit(CALLS_BATCH)
    )
    gone = list(ids)
    if gone:
        await session.execute(delete(call).where(call.id.in_(gone)))
    return len(gone)


async def _delete_tasks(session: AsyncSession, before: float) -> int:
    """Delete tasks that agents gave to others, once the turn of the child is away."""
    task, of_child = models.ChildTask, models.Turn.conversation_id
    ids = await session.scalars(
        select(task.conversation_id)
        .where(
            task.state != "running",
            task.finished_at < before,
            ~exists().where(of_child == task.conversation_id),
        )
        .limit(BATCH)
    )
    gone = list(ids)
    if gone:
        conversations = models.Conversation.id.in_(gone)
        await session.execute(delete(task).where(task.conversation_id.in_(gone)))
        await session.execute(update(models.Conversation).where(conversations).values(title=""))
    return len(gone)


def _ended(before: float) -> list[ColumnElement[bool]]:
    """Turns whose answers are delivered, or will not be, and whose status message is away."""
    turn = models.Turn
    open_message = exists().where(
        models.Outbox.turn_id == turn.id,
        or_(models.Outbox.state == "pending", models.Outbox.finished_at >= before),
    )
    open_status = exists().where(
        models.StatusMessageRow.turn_id == turn.id, models.StatusMessageRow.state == "open"
    )
    return [turn.state.not_in(OPEN_STATES), turn.finished_at < before, ~open_message, ~open_status]


def _without_turn(before: float) -> list[ColumnElement[bool]]:
    """Events that led to no turn, such as commands, edits, and messages that were not let in."""
    event = models.Inbox
    has_turn = exists().where(models.Turn.id == event.turn_id)
    return [event.state.in_(ENDED_EVENTS), event.received_at < before, ~has_turn]


def _notices(before: float) -> list[ColumnElement[bool]]:
    """Deliveries that are no turn's answer, such as notices and an operator's words."""
    message = models.Outbox
    has_turn = exists().where(models.Turn.id == message.turn_id)
    return [message.state != "pending", message.finished_at < before, ~has_turn]


async def _ids(
    session: AsyncSession, table: Any, where: Sequence[ColumnElement[bool]]
) -> list[str]:
    return list(await session.scalars(select(table.id).where(*where).limit(BATCH)))


async def _delete_messages(session: AsyncSession, which: ColumnElement[bool]) -> None:
    messages = select(models.Outbox.id).where(which)
    parts = select(models.Part.id).where(models.Part.outbox_id.in_(messages))
    attempt = models.DeliveryAttempt
    await session.execute(delete(attempt).where(attempt.part_id.in_(parts)))
    await session.execute(delete(models.Part).where(models.Part.outbox_id.in_(messages)))
    await session.execute(delete(models.Outbox).where(which))


async def _delete_questions(session: AsyncSession, turns: Sequence[str]) -> None:
    """A standing approval outlives the question from which it comes."""
    asked = models.Approval.turn_id.in_(turns)
    grant = models.Grant
    approvals = select(models.Approval.id).where(asked)
    await session.execute(
        update(grant).where(grant.approval_id.in_(approvals)).values(approval_id=None)
    )
    await session.execute(delete(models.Approval).where(asked))


async def _delete_events(session: AsyncSession, which: ColumnElement[bool]) -> None:
    """A file keeps its row until its own time is over; it no longer names the message."""
    events = select(models.Inbox.id).where(which)
    file = models.Artifact
    await session.execute(update(file).where(file.inbox_id.in_(events)).values(inbox_id=None))
    await session.execute(delete(models.Inbox).where(which))
