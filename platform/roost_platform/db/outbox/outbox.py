"""Entries and parts to deliver: implements the port that delivery lanes run on."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, cast
from weakref import WeakKeyDictionary

from sqlalchemy import bindparam, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import Address, ChannelName
from roost_channels.outbox import FailureReason, OutboxEntry, StoredPart
from roost_channels.rendering.parts import RenderedPart
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.inbox.moves import move_conversation
from roost_platform.db.outbox.evidence import look
from roost_platform.db.outbox.part_states import (
    conclude,
    entry_of,
    finish_attempt,
    head_of,
    hold_conversation_of,
    lock_part,
    mark_sent,
    note,
    part_of,
    parts_of,
    was_refused,
)
from roost_platform.db.outbox.waits import WaitStore
from roost_platform.db.outbox.window import hold_part
from roost_platform.db.rows import lock_conversation, new_id
from roost_platform.db.turns.status import StatusStore
from roost_platform.errors import NotAllowed, NotFound, PartClaimed

LANES_MAX = 500  # lanes handed out by one `due`; the rest come with the next
UNFINISHED = ("planned", "sending", "not_sent", "ambiguous")

# Statements that run at every commit or tick are made once: making and recognising one costs twice
# what running it does.
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
    )
    .join(models.Outbox, models.Outbox.conversation_id == models.Conversation.id)
    .where(models.Outbox.sequence.in_(_HEADS), models.Outbox.next_at <= bindparam("now"))
    .order_by(models.Outbox.sequence)
    .limit(LANES_MAX)
)
_TRIED = (
    select(func.count())
    .select_from(models.DeliveryAttempt)
    .where(
        models.DeliveryAttempt.part_id == bindparam("part_id"),
        models.DeliveryAttempt.kind == "send",
    )
)


class OutboxStore(StatusStore, WaitStore):
    """Implements `roost_channels.outbox.Outbox`; every method is one transaction."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._seen: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()
        self._seen_last: int | None = None

    async def wait(self, timeout_s: float) -> None:
        """As the port says, and nothing is missed between two waits.

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
        if not channels:
            return []
        async with self._database.read() as session:
            found = await session.execute(_DUE, {"accounts": list(channels), "now": now})
            return [
                Address(cast(ChannelName, channel), account, chat, thread)
                for channel, account, chat, thread in found
            ]

    async def next_entry(self, address: Address) -> tuple[OutboxEntry, Sequence[StoredPart]] | None:
        async with self._database.read() as session:
            head = await head_of(session, address)
            if head is None:
                return None
            parts = await parts_of(session, head.id)
            if not self._has_expired(parts):
                return entry_of(head, address), [part_of(row) for row in parts]
        async with self._database.write() as session:
            await self._end_leases(session, head.id)
            parts = await parts_of(session, head.id)
            return entry_of(head, address), [part_of(row) for row in parts]

    def _has_expired(self, parts: Sequence[models.Part]) -> bool:
        now = self._database.now()
        return any(part.state == "sending" and (part.lease_until or 0) <= now for part in parts)

    async def _end_leases(self, session: AsyncSession, entry_id: str) -> None:
        now = self._database.now()
        await session.get(models.Outbox, entry_id, with_for_update=True)
        for part in await parts_of(session, entry_id):
            if part.state == "sending" and (part.lease_until or 0) <= now:
                await self._abandon(session, part, "its courier's lease ended")

    async def _abandon(self, session: AsyncSession, part: models.Part, why: str) -> None:
        """Nobody knows what became of a request that was under way."""
        part.state, part.error, part.lease_until = "ambiguous", f"Unknown outcome: {why}.", None
        note(part, f"Became uncertain: {why}.", self._database.now())
        await finish_attempt(session, part, "ambiguous", self._database.now(), error=part.error)

    async def plan(self, entry_id: str, parts: Sequence[RenderedPart]) -> Sequence[StoredPart]:
        async with self._database.write() as session:
            entry = await session.get(models.Outbox, entry_id, with_for_update=True)
            if entry is None:
                raise NotFound(f"No outbox entry {entry_id}.")
            stored = await parts_of(session, entry_id)
            if not stored:
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

    async def sending(self, part_id: str, owner: str, lease_s: float) -> int:
        async with self._database.write() as session:
            entry, part = await lock_part(session, part_id)
            now = self._database.now()
            if part.state not in UNFINISHED or entry.state != "pending":
                raise NotAllowed(f"Part {part_id} is {part.state}, its message {entry.state}.")
            is_leased = part.state == "sending" and (part.lease_until or 0) > now
            if is_leased and part.owner != owner:
                raise PartClaimed(f"{part.owner} is sending part {part_id}.")
            tried = await session.scalar(_TRIED, {"part_id": part_id})
            part.state, part.owner, part.lease_until = "sending", owner, now + lease_s
            part.started_at, part.held = now, False
            part.attempts += 1
            session.add(
                models.DeliveryAttempt(
                    part_id=part_id,
                    attempt=(tried or 0) + 1,
                    outcome="sending",
                    asked=f"send part {part.position + 1} of {part.count}, "
                    f"{len(str(part.rendered['text']))} characters",
                    started_at=now,
                )
            )
            return part.attempts

    async def sent(self, part_id: str, message_id: str) -> None:
        async with self._database.write() as session:
            entry, part = await lock_part(session, part_id)
            if part.receipt == "failed" or was_refused(part, message_id):
                return  # its refusal was faster than the answer to the request
            await mark_sent(session, entry, part, message_id, self._database.now())

    async def not_sent(
        self,
        part_id: str,
        *,
        retry_at: float,
        error: str,
        code: str = "",
        http_status: int = 0,
        held: bool = False,
        invitation: str = "",
    ) -> None:
        async with self._database.write() as session:
            conversation = await hold_conversation_of(session, part_id) if held else None
            entry, part = await lock_part(session, part_id)
            if part.state in ("sent", "failed"):
                return
            now = self._database.now()
            part.state, part.error, part.lease_until = "not_sent", error, None
            part.next_at = entry.next_at = retry_at
            if conversation is not None:
                await hold_part(
                    session,
                    conversation,
                    entry,
                    part,
                    until=retry_at,
                    invitation=invitation,
                    now=now,
                )
            await finish_attempt(
                session, part, "not_sent", now, error, code, http_status, part.next_at
            )

    async def replan(
        self, part_id: str, rendered: RenderedPart, *, drop_reply: bool = False
    ) -> None:
        """As the port says; a part that was uncertain is marked as a labelled repeat."""
        async with self._database.write() as session:
            entry, part = await lock_part(session, part_id)
            if part.state in ("sent", "failed"):
                return
            now = self._database.now()
            if part.state == "ambiguous":
                part.duplicate_label = True
            else:
                part.plain = True
            if part.state == "sending":
                await finish_attempt(session, part, "not_sent", now, "Rendered again, plainer.")
            part.rendered = asdict(rendered)
            part.state, part.lease_until = "not_sent", None
            part.next_at = entry.next_at = now
            if drop_reply:
                entry.reply_to = None

    async def ambiguous(
        self, part_id: str, *, error: str, code: str = "", http_status: int = 0
    ) -> None:
        async with self._database.write() as session:
            entry, part = await lock_part(session, part_id)
            if part.state in ("sent", "failed"):
                return
            now = self._database.now()
            part.state, part.error, part.lease_until = "ambiguous", error, None
            part.next_at = entry.next_at = now
            await finish_attempt(session, part, "ambiguous", now, error, code, http_status)

    async def failed(
        self,
        part_id: str,
        *,
        error: str,
        code: str = "",
        http_status: int = 0,
        reason: FailureReason = "refused",
    ) -> None:
        async with self._database.write() as session:
            entry, part = await lock_part(session, part_id)
            if part.state == "sent":
                return
            now = self._database.now()
            part.state, part.error, part.lease_until = "failed", error, None
            part.reason_code = reason
            await finish_attempt(session, part, "failed", now, error, code, http_status)
            await conclude(session, entry, now)

    async def evidence(
        self, part_id: str, note_text: str, *, asked: str = "", answered: str = ""
    ) -> None:
        async with self._database.write() as session:
            _, part = await lock_part(session, part_id)
            now = self._database.now()
            if not asked:
                note(part, note_text, now)
                return
            await look(session, part, now, asked=asked, answered=answered, concluded=note_text)

    async def recover(self, owner: str) -> int:
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
        async with self._database.write() as session:
            conversation_id = await session.scalar(
                select(models.Conversation.id).where(models.Conversation.key == address.key)
            )
            if conversation_id is not None:
                conversation = await lock_conversation(session, conversation_id)
                await move_conversation(session, conversation, new_chat)
