"""One conversation as events for programs: text as it grows, tools, messages, the end."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.commands import parse
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.locks import open_turn
from roost_platform.db.turns.children.telling import waits_for_agents
from roost_platform.db.turns.parking import can_go_on
from roost_platform.db.waits.answering import open_in

POLL_S = 1.0  # how long to wait for a commit before reading anyway
ALLOWED_CHECK_S = 2.0  # how often a stream asks whether its reader may still read
MESSAGES_MAX = 100  # read at once
STOP_RECORDED_S = 0.5  # a stop and the message that asks for it are stored in one transaction
OUTCOMES = {"running": "", "done": "answered", "stopped": "stopped", "failed": "failed"}


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """One event. Names with their data:

    delta {text, reset}: text to append, with `reset` to start over with;
    tool {line}: a tool that is called;
    answer, notice, error, approval {id, text, sequence}: a message;
    done {outcome, reason}: the message that was asked about is settled. outcome: answered, stopped,
        failed, waiting (for a person, another agent or a time), or a code that says why no turn
        took it; reason: the same in words, left out where a turn took it.
    """

    name: str
    data: dict[str, Any]


async def _always() -> bool:
    return True


@dataclass(slots=True)
class Feed:
    """Follows a conversation from outbox position `after` (0: everything, -1: from now on).

    inbox_id: end with `done` once this message is settled; without it the feed has no end.
    """

    database: Database
    conversation_id: str
    after: int = -1
    inbox_id: str | None = None
    _turn_id: str = field(default="", init=False)
    _text: str = field(default="", init=False)
    _tools: set[str] = field(default_factory=set, init=False)

    async def events(
        self, closing: asyncio.Event, still_allowed: Callable[[], Awaitable[bool]] = _always
    ) -> AsyncIterator[FeedEvent]:
        """Everything in order until `closing`, or until the reader may not read any more: each
        message once, and progress."""
        checked_at = time.monotonic()
        await self.database.changed(0)  # commits count from here
        async with self.database.read() as session:
            if self.after < 0:
                self.after = await self._start_position(session)
        while not closing.is_set():
            if time.monotonic() - checked_at > ALLOWED_CHECK_S:
                if not await still_allowed():
                    return
                checked_at = time.monotonic()
            async with self.database.read() as session:
                # The outcome first: what a settled message led to is then among what is read below.
                outcome = await self._outcome(session)
                fresh = [*await self._progress(session), *await self._messages(session)]
            for event in fresh:
                yield event
            if outcome is not None and len(fresh) < MESSAGES_MAX:
                yield FeedEvent("done", dict(outcome))
                return
            await self.database.changed(POLL_S)

    async def _start_position(self, session: AsyncSession) -> int:
        """Where the outbox stood; for a message that was sent already, where it stood then."""
        newest = select(models.Outbox.sequence).where(
            models.Outbox.conversation_id == self.conversation_id
        )
        if self.inbox_id is not None:
            received_at = (
                select(models.Inbox.received_at)
                .where(models.Inbox.id == self.inbox_id)
                .scalar_subquery()
            )
            newest = newest.where(models.Outbox.created_at < received_at)
        newest = newest.order_by(models.Outbox.sequence.desc()).limit(1)
        return await session.scalar(newest) or 0

    async def _outcome(self, session: AsyncSession) -> dict[str, str] | None:
        """The data of `done` for the message; None while it waits or is being answered."""
        if self.inbox_id is None:
            return None
        row = await session.get(models.Inbox, self.inbox_id)
        if row is None:
            return {"outcome": "unknown"}
        if row.state in ("pending", "held"):
            return await self._waits(session)
        turn_id = await self._my_turn(session)
        if turn_id is None:
            words = {"reason": row.reason} if row.reason else {}
            return {"outcome": row.reason_code or row.state, **words}
        turn = await session.get(models.Turn, turn_id)
        state = turn.state if turn else "failed"
        if state == "waiting":
            return await self._waits(session)
        outcome = OUTCOMES.get(state, state)
        return {"outcome": outcome} if outcome else None

    async def _waits(self, session: AsyncSession) -> dict[str, str] | None:
        """The data of `done` where the conversation's turn waits; None while it can go on."""
        turn = await open_turn(session, self.conversation_id)
        if turn is None or turn.state != "waiting" or await can_go_on(session, turn.id):
            return None
        asks = await open_in(session, self.conversation_id)
        if not asks and await waits_for_agents(session, turn.id):
            return None  # it goes on by itself
        return {"outcome": "waiting"}

    async def _messages(self, session: AsyncSession) -> list[FeedEvent]:
        rows = await session.scalars(
            select(models.Outbox)
            .where(
                models.Outbox.conversation_id == self.conversation_id,
                models.Outbox.sequence > self.after,
            )
            .order_by(models.Outbox.sequence)
            .limit(MESSAGES_MAX)
        )
        mine = await self._my_turn(session)
        events = []
        for row in rows:
            self.after = row.sequence
            if row.edits_id is not None and row.kind == "approval":
                continue  # what became of a card, for channels that show it there
            if self.inbox_id is not None and row.turn_id not in (None, mine):
                continue  # the answer to somebody else's message
            data = {"id": row.id, "text": row.text, "sequence": row.sequence}
            events.append(FeedEvent(row.kind, data))
        return events

    async def _my_turn(self, session: AsyncSession) -> str | None:
        """The turn that answers the message, or that the message stopped."""
        row = await session.get(models.Inbox, self.inbox_id) if self.inbox_id else None
        if row is None or row.turn_id is not None or row.state != "done":
            return row.turn_id if row else None
        command = parse(row.text, row.kind)
        if command is None or command.name not in ("stop", "new"):
            return None
        return await session.scalar(
            select(models.Turn.id)
            .where(
                models.Turn.conversation_id == self.conversation_id,
                models.Turn.stop_requested_at <= row.received_at + STOP_RECORDED_S,
                or_(
                    models.Turn.state == "running",
                    models.Turn.stop_requested_at >= row.received_at - STOP_RECORDED_S,
                ),
            )
            .order_by(models.Turn.stop_requested_at.desc())
            .limit(1)
        )

    async def _progress(self, session: AsyncSession) -> list[FeedEvent]:
        row = await session.scalar(
            select(models.RunProgress)
            .join(models.Turn, models.Turn.id == models.RunProgress.turn_id)
            .where(
                models.Turn.conversation_id == self.conversation_id,
                models.Turn.state == "running",
            )
        )
        if row is None:
            return []
        if row.turn_id != self._turn_id:
            self._turn_id, self._text, self._tools = row.turn_id, "", set()
        new_lines = [line for line in row.tools if line not in self._tools]
        self._tools.update(new_lines)
        events = [FeedEvent("tool", {"line": line}) for line in new_lines]
        if row.text != self._text:
            reset = not row.text.startswith(self._text)
            new = row.text if reset else row.text[len(self._text) :]
            events.append(FeedEvent("delta", {"text": new, "reset": reset}))
            self._text = row.text
        return events
