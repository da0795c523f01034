"""Commits the tries and the outcomes of single parts."""

from dataclasses import asdict

from sqlalchemy import bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.clock import Passed
from roost_channels.errors import Failure
from roost_channels.outbox import UNFINISHED, FailureReason
from roost_channels.rendering.parts import RenderedPart
from roost_platform.approval_rules import ApprovalRules
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.outbox.evidence import record_look
from roost_platform.db.outbox.part_states import (
    FINISHED,
    conclude,
    finish_attempt,
    is_leased,
    lock_behind,
    lock_conversation_of,
    lock_part,
    mark_sent,
    note,
    was_refused,
)
from roost_platform.db.outbox.window import hold_part
from roost_platform.db.schedules.undelivered import message_failed
from roost_platform.db.turns.dropping import drop_part
from roost_platform.db.waits.unreachable import card_failed
from roost_platform.errors import PartClaimed, PartOver

# It runs before every send, so it is made once.
_TRIED = (
    select(func.count())
    .select_from(models.DeliveryAttempt)
    .where(
        models.DeliveryAttempt.part_id == bindparam("part_id"),
        models.DeliveryAttempt.kind == "send",
    )
)


class PartStore:
    """The part of the Outbox port that commits tries and outcomes; each method one transaction."""

    _database: Database
    _passed: Passed
    _approvals: ApprovalRules

    async def sending(self, part_id: str, owner: str, lease_s: float, *, after: int = -1) -> int:
        """Claim a part and count one more try; returns the try's number."""
        async with self._database.write() as session:
            entry, part = await lock_part(session, part_id)
            now = self._database.now()
            if part.state not in UNFINISHED or entry.state != "pending":
                raise PartOver(f"Part {part_id} is {part.state}, its message {entry.state}.")
            if part.owner != owner and is_leased(part, now, self._passed):
                raise PartClaimed(f"{part.owner} is sending part {part_id}.")
            if after >= 0 and part.attempts != after:
                raise PartOver(f"Part {part_id} has had another attempt, by {part.owner}.")
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

    async def sent(self, part_id: str, message_id: str) -> bool:
        """Record the proof that the provider took a part; False where an earlier one stands."""
        async with self._database.write() as session:
            entry, part = await lock_part(session, part_id)
            if part.receipt == "failed" or was_refused(part, message_id):
                return True  # the refusal arrived before the answer to the request
            await mark_sent(session, entry, part, message_id, self._database.now())
            return part.message_id == message_id

    async def not_sent(
        self,
        part_id: str,
        failure: Failure,
        *,
        retry_at: float,
        held: bool = False,
        invitation: str = "",
        attempt: int = 0,
    ) -> None:
        """Record that a part was provably not sent, and when it is due again."""
        async with self._database.write() as session:
            conversation = await lock_conversation_of(session, part_id) if held else None
            entry, part = await lock_part(session, part_id)
            if part.state in FINISHED or _is_void(part, attempt):
                return
            now = self._database.now()
            if entry.dropped_at is not None:
                part.error = failure.error
                await finish_attempt(session, part, "not_sent", now, failure)
                await self._drop(session, entry, part, now)
                return
            part.state, part.error, part.lease_until = "not_sent", failure.error, None
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
            await finish_attempt(session, part, "not_sent", now, failure, part.next_at)

    async def replan(
        self, part_id: str, rendered: RenderedPart, *, drop_reply: bool = False, attempt: int = 0
    ) -> None:
        """Replace the rendering of a part that goes once more; mark a part in doubt as a repeat."""
        async with self._database.write() as session:
            entry, part = await lock_part(session, part_id)
            if part.state in FINISHED or _is_void(part, attempt):
                return
            now = self._database.now()
            if entry.dropped_at is not None:
                await self._drop(session, entry, part, now)
                return
            if part.state == "ambiguous":
                part.duplicate_label = True
            else:
                part.plain = True
            if part.state == "sending":
                await finish_attempt(
                    session, part, "not_sent", now, Failure("Rendered again, plainer.")
                )
            part.rendered = asdict(rendered)
            part.state, part.lease_until = "not_sent", None
            part.next_at = entry.next_at = now
            if drop_reply:
                entry.reply_to = None

    async def ambiguous(self, part_id: str, failure: Failure, *, attempt: int = 0) -> None:
        """Record that nobody knows whether a part was sent."""
        async with self._database.write() as session:
            entry, part = await lock_part(session, part_id)
            if part.state in FINISHED or _is_void(part, attempt):
                return
            now = self._database.now()
            part.state, part.error, part.lease_until = "ambiguous", failure.error, None
            part.next_at = entry.next_at = now
            await finish_attempt(session, part, "ambiguous", now, failure)

    async def failed(
        self, part_id: str, failure: Failure, *, reason: FailureReason = "refused", attempt: int = 0
    ) -> None:
        """Record a dead letter: the part fails, and its entry with it."""
        async with self._database.write() as session:
            await lock_behind(session, part_id)
            entry, part = await lock_part(session, part_id)
            if part.state in ("sent", "dropped") or _is_void(part, attempt):
                return
            now = self._database.now()
            part.state, part.error, part.lease_until = "failed", failure.error, None
            part.reason_code = reason
            await finish_attempt(session, part, "failed", now, failure)
            await conclude(session, entry, now)
            await card_failed(session, entry, self._approvals, now)
            await message_failed(session, entry, now)

    async def _drop(
        self, session: AsyncSession, entry: models.Outbox, part: models.Part, now: float
    ) -> None:
        """A part that was in flight when its message was stopped is not tried again."""
        drop_part(part)
        note(part, "Not tried again: the person stopped the message.", now)
        await conclude(session, entry, now)

    async def evidence(
        self, part_id: str, note_text: str, *, asked: str = "", answered: str = "", attempt: int = 0
    ) -> None:
        """Write down what was concluded about a part, for operators."""
        async with self._database.write() as session:
            _, part = await lock_part(session, part_id)
            if _is_void(part, attempt):
                return
            now = self._database.now()
            if not asked:
                note(part, note_text, now)
                return
            await record_look(
                session, part, now, asked=asked, answered=answered, concluded=note_text
            )


def _is_void(part: models.Part, attempt: int) -> bool:
    """Whether another attempt has begun since the one that an outcome is about."""
    return attempt not in (0, part.attempts)
