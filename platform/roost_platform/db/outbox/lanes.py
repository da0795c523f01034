"""Lanes of the outbox: which chats are due, their first entry, and what a dead courier left."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import bindparam, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.errors import Failure
from roost_channels.message import Address
from roost_channels.outbox import OutboxEntry, StoredPart
from roost_channels.rendering.parts import RenderedPart
from roost_platform.approval_rules import ApprovalRules
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.base.ids import new_id
from roost_platform.db.conversations.moves import move_conversation
from roost_platform.db.locks import lock_conversation
from roost_platform.db.outbox.part_states import (
    entry_of,
    finish_attempt,
    head_of,
    is_leased,
    note,
    part_of,
    parts_of,
)
from roost_platform.db.reply_targets import is_overtaken
from roost_platform.errors import NotFound

LANES_MAX = 500  # lanes handed out by one `due`; the rest come with the next

# These run at every commit or tick, so they are made once: making a statement costs twice what
# running it does.
_HEADS = (
    select(func.min(models.Outbox.sequence))
    .where(
        models.Outbox.state == "pending",
        tuple_(models.Outbox.channel, models.Outbox.account).in_(
            bindparam("accounts", expanding=True)
        ),
    )
    .group_by(models.Outbox.conversation_id)
)
_DUE = (
    select(
        models.Conversation.channel,
        models.Conversation.account,
        models.Conversation.chat,
        models.Conversation.thread,
        models.Conversation.is_group,
    )
    .join(models.Outbox, models.Outbox.conversation_id == models.Conversation.id)
    .where(models.Outbox.sequence.in_(_HEADS), models.Outbox.next_at <= bindparam("now"))
    .order_by(models.Outbox.sequence)
    .limit(LANES_MAX)
)
_NEXT_DUE = select(func.min(models.Outbox.next_at)).where(models.Outbox.sequence.in_(_HEADS))


class LaneStore:
    """The part of the Outbox port that finds work; every method is one transaction."""

    def __init__(self, database: Database, approvals: ApprovalRules | None = None) -> None:
        self._database = database
        self._approvals = approvals or ApprovalRules()
        self._passed = database.passed
        self._seen: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()
        self._seen_last: int | None = None

    async def wait(self, timeout_s: float) -> None:
        """Return at the next commit, and miss none between two waits.

        A consumer that waits in its own task is known by that task. One that waits in a new task
        each time, as the courier does, goes on from the last such wait.
        """
        task = asyncio.current_task()
        since = self._seen.get(task) if task is not None else None
        if since is not None and task is not None:
            self._seen[task] = await self._database.changed_since(since, timeout_s)
            return
        if self._seen_last is None:
            self._seen_last = await self._database.version()
        self._seen_last = await self._database.changed_since(self._seen_last, timeout_s)
        if task is not None:
            self._seen[task] = self._seen_last

    async def due(self, channels: Sequence[tuple[str, str]], now: float) -> Sequence[Address]:
        """The lanes of these accounts whose first entry is due, in the order of their entries."""
        if not channels:
            return []
        async with self._database.read() as session:
            return await self._due_lanes(session, channels, now)

    async def _due_lanes(
        self, session: AsyncSession, channels: Sequence[tuple[str, str]], now: float
    ) -> Sequence[Address]:
        lanes = await session.execute(_DUE, {"accounts": list(channels), "now": now})
        return [Address(*row) for row in lanes]

    async def next_due(self, channels: Sequence[tuple[str, str]]) -> float:
        """When the first lane of these accounts is due; infinity when none waits."""
        if not channels:
            return math.inf
        async with self._database.read() as session:
            due_at = await session.scalar(_NEXT_DUE, {"accounts": list(channels)})
            return math.inf if due_at is None else float(due_at)

    async def next_entry(self, address: Address) -> tuple[OutboxEntry, Sequence[StoredPart]] | None:
        """The first entry of a lane and its parts; sends whose lease ended become ambiguous.

        A reply that newer messages have overtaken says so from now on.
        """
        async with self._database.read() as session:
            first = await head_of(session, address)
            if first is None:
                return None
            head, left_at = first
            parts = await parts_of(session, head.id)
            edits = await self._target_of(session, head)
            # What it replies to is settled before it is planned, and then stays.
            has_newer = not parts and await is_overtaken(session, head)
            if not has_newer and not self._has_expired(parts):
                return entry_of(head, address, edits, left_at), [part_of(row) for row in parts]
        async with self._database.write() as session:
            await self._end_leases(session, head.id)
            if has_newer:
                head = await session.get_one(models.Outbox, head.id, with_for_update=True)
                head.reply_to = {**(head.reply_to or {}), "is_latest": False}
            parts = await parts_of(session, head.id)
            return entry_of(head, address, edits, left_at), [part_of(row) for row in parts]

    async def _target_of(self, session: AsyncSession, entry: models.Outbox) -> str:
        """The provider's id of the message that an edit replaces; empty where it never arrived."""
        if entry.edits_id is None:
            return ""
        parts = await parts_of(session, entry.edits_id)
        return (parts[-1].message_id or "") if parts else ""

    async def skip(self, entry_id: str) -> None:
        """End an entry that needs no sending."""
        async with self._database.write() as session:
            entry = await session.get(models.Outbox, entry_id, with_for_update=True)
            if entry is not None and entry.state == "pending":
                entry.state, entry.finished_at = "cancelled", self._database.now()

    async def plan(self, entry_id: str, parts: Sequence[RenderedPart]) -> Sequence[StoredPart]:
        """Store an entry's parts, once; returns the parts that are stored, if any."""
        async with self._database.write() as session:
            entry = await session.get(models.Outbox, entry_id, with_for_update=True)
            if entry is None:
                raise NotFound(f"No outbox entry {entry_id}.")
            stored = await parts_of(session, entry_id)
            if not stored and entry.state == "pending":
                stored = [
                    models.Part(
                        id=new_id(),
                        outbox_id=entry_id,
                        conversation_id=entry.conversation_id,
                        position=position,
                        count=len(parts),
                        rendered=asdict(part),
                        char_start=part.char_start,
                        char_end=part.char_end,
                        state="planned",
                        next_at=entry.next_at,
                    )
                    for position, part in enumerate(parts)
                ]
                session.add_all(stored)
                await session.flush()
            return [part_of(row) for row in stored]

    async def recover(self, owner: str) -> int:
        """Parts that another owner left `sending` become ambiguous; returns how many."""
        async with self._database.write() as session:
            left = (models.Part.state == "sending", models.Part.owner != owner)
            await session.execute(
                select(models.Outbox.id)
                .where(models.Outbox.id.in_(select(models.Part.outbox_id).where(*left)))
                .order_by(models.Outbox.sequence)
                .with_for_update()
            )
            parts = (await session.scalars(select(models.Part).where(*left))).all()
            for part in parts:
                await self._abandon(session, part, f"{part.owner} ended while sending")
            await session.execute(
                update(models.Outbox)
                .where(
                    models.Outbox.id.in_([part.outbox_id for part in parts]),
                    models.Outbox.state == "pending",
                )
                .values(next_at=self._database.now())
            )
            return len(parts)

    async def moved(self, address: Address, new_chat: str) -> None:
        """The chat has a new id: its conversation and its unsent messages follow."""
        async with self._database.write() as session:
            conversation_id = await session.scalar(
                select(models.Conversation.id).where(models.Conversation.key == address.key)
            )
            if conversation_id is not None:
                conversation = await lock_conversation(session, conversation_id)
                await move_conversation(session, conversation, new_chat)

    def _has_expired(self, parts: Sequence[models.Part]) -> bool:
        now = self._database.now()
        return any(
            part.state == "sending" and not is_leased(part, now, self._passed) for part in parts
        )

    async def _end_leases(self, session: AsyncSession, entry_id: str) -> None:
        now = self._database.now()
        await session.get(models.Outbox, entry_id, with_for_update=True)
        for part in await parts_of(session, entry_id):
            if part.state == "sending" and not is_leased(part, now, self._passed):
                await self._abandon(session, part, "its courier's lease ended")

    async def _abandon(self, session: AsyncSession, part: models.Part, why: str) -> None:
        """Make a part ambiguous: nobody knows what became of its request."""
        part.state, part.error, part.lease_until = "ambiguous", f"Unknown outcome: {why}.", None
        note(part, f"Became uncertain: {why}.", self._database.now())
        await finish_attempt(session, part, "ambiguous", self._database.now(), Failure(part.error))
