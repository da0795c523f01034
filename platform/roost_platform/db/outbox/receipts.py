"""Delivery receipts: what providers report of a part after they took it."""

import logging
from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.config import DeliveryConfig
from roost_channels.delivery.parts import without_file
from roost_channels.delivery.receipts import ACCEPTED, FAILED, newer_receipt
from roost_channels.errors import Failure
from roost_channels.intake import DeliveryReceipt, Refusal
from roost_channels.message import Address
from roost_channels.outbox import EarlierSend
from roost_platform.approval_rules import ApprovalRules
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.outbox.evidence import record_look
from roost_platform.db.outbox.part_states import (
    add_refused_id,
    conclude,
    finish_attempt,
    lock_behind,
    lock_card_of,
    lock_conversation_of,
    lock_part,
    mark_sent,
    note,
    rendered_of,
    was_refused,
)
from roost_platform.db.outbox.window import hold_part
from roost_platform.db.schedules.undelivered import message_failed
from roost_platform.db.turns.dropping import drop_part
from roost_platform.db.waits.unreachable import card_failed

log = logging.getLogger(__name__)

NOT_UNDER_WAY = frozenset({"not_sent", "failed", "expired", "dropped"})

# These run before every part of channels that keep no order, so they are made once.
_PARTS_BEFORE = (
    select(models.Part)
    .join(models.Conversation, models.Conversation.id == models.Part.conversation_id)
    .where(
        models.Conversation.key == bindparam("key"),
        models.Part.sent_at.is_not(None),
        models.Part.id != bindparam("before"),
    )
    .order_by(models.Part.sent_at.desc(), models.Part.id.desc())
    .limit(bindparam("limit"))
)
_NEWEST_TURN = (
    select(models.Turn.id)
    .join(models.Conversation, models.Conversation.id == models.Turn.conversation_id)
    .where(models.Conversation.key == bindparam("key"))
    .order_by(models.Turn.number.desc())
    .limit(1)
)
_STATUS_BEFORE = select(models.StatusMessageRow).where(
    models.StatusMessageRow.turn_id == _NEWEST_TURN.scalar_subquery(),
    models.StatusMessageRow.message_id.is_not(None),
)


class ReceiptStore:
    """Implements `roost_channels.outbox.Receipts`, and records the receipts that arrive.

    config: how long a message that the provider refuses after it took it is tried again.
    """

    def __init__(
        self,
        database: Database,
        config: DeliveryConfig | None = None,
        approvals: ApprovalRules | None = None,
    ) -> None:
        self._database = database
        self._approvals = approvals or ApprovalRules()
        self._config = config or DeliveryConfig()

    async def earlier(
        self, address: Address, *, before: str, limit: int = 1
    ) -> Sequence[EarlierSend]:
        """What went to this chat before a part, newest first, with its receipts."""
        key = {"key": address.key}
        async with self._database.read() as session:
            parts = await session.scalars(_PARTS_BEFORE, {**key, "before": before, "limit": limit})
            sends = [_earlier(part) for part in parts]
            for row in await session.scalars(_STATUS_BEFORE, key):
                sends.append(EarlierSend("", str(row.message_id), row.edited_at))
        return sorted(sends, key=lambda one: one.taken_at, reverse=True)[:limit]

    async def record(self, channel: str, account: str, receipt: DeliveryReceipt) -> None:
        """Apply a receipt in any order and any number of times; unknown messages are ignored."""
        async with self._database.write() as session:
            part_id = await _find_part(session, channel, account, receipt)
            if part_id is None:
                log.info(
                    "a receipt (%s) for a message we did not send: %s",
                    receipt.status,
                    receipt.message_id,
                )
                return
            rules, now = self._approvals, self._database.now()
            await _apply(session, part_id, receipt, self._config, rules, now)


def _earlier(part: models.Part) -> EarlierSend:
    # Nobody waits for a part that is not under way, even if it must be sent once more.
    status = "failed" if part.state in NOT_UNDER_WAY else part.receipt
    return EarlierSend(part.id, part.message_id or "", part.sent_at or 0.0, status)


async def _find_part(
    session: AsyncSession, channel: str, account: str, receipt: DeliveryReceipt
) -> str | None:
    """The part of a receipt: by our own id, which travelled with it, else by the provider's."""
    query = (
        select(models.Part.id)
        .join(models.Outbox, models.Outbox.id == models.Part.outbox_id)
        .where(models.Outbox.channel == channel, models.Outbox.account == account)
    )
    if receipt.part_id:
        part_id = await session.scalar(query.where(models.Part.id == receipt.part_id))
        if part_id is not None:
            return part_id
    if not receipt.message_id:
        return None
    by_message = query.where(models.Part.message_id == receipt.message_id).limit(1)
    return await session.scalar(by_message)


async def _apply(
    session: AsyncSession,
    part_id: str,
    receipt: DeliveryReceipt,
    config: DeliveryConfig,
    approvals: ApprovalRules,
    now: float,
) -> None:
    """Apply a receipt to its part; it may prove an uncertain send."""
    is_failure = receipt.status in FAILED
    await (lock_behind if is_failure else lock_card_of)(session, part_id)
    conversation = await lock_conversation_of(session, part_id) if receipt.refusal else None
    entry, part = await lock_part(session, part_id)
    if was_refused(part, receipt.message_id):
        return  # a late or repeated receipt, about an earlier try
    if is_failure:
        await _apply_failure(session, conversation, entry, part, receipt, config, now)
        await card_failed(session, entry, approvals, now)
        await message_failed(session, entry, now)
        return
    if receipt.status not in ACCEPTED:
        return
    status = receipt.status
    if part.receipt == "failed":
        note(part, f"A receipt says {status} after a failure; the failure stands.", now)
        return
    if part.state != "sent" and receipt.message_id:
        await record_look(
            session,
            part,
            now,
            kind="receipt",
            asked="the provider's receipt",
            answered=f"{status}, message {receipt.message_id}",
            concluded=f"A receipt ({status}) proves that it was sent.",
        )
        await mark_sent(session, entry, part, receipt.message_id, now)
    part.receipt = newer_receipt(part.receipt, status)


async def _apply_failure(
    session: AsyncSession,
    conversation: models.Conversation | None,
    entry: models.Outbox,
    part: models.Part,
    receipt: DeliveryReceipt,
    config: DeliveryConfig,
    now: float,
) -> None:
    """The provider reports that a message it took did not arrive: try again, or give up."""
    status, refusal, message_id = receipt.status, receipt.refusal, receipt.message_id
    if part.receipt != "failed" and newer_receipt(part.receipt, status) != "failed":
        note(part, f"A late receipt says {status}, but it was {part.receipt} before.", now)
        return
    if part.receipt == "failed":
        return
    error = " ".join(filter(None, (status, receipt.error_code, receipt.description)))
    is_young = now - entry.created_at < config.give_up_s and entry.kind != "invitation"
    if refusal and conversation and is_young and _may_help(refusal, part):
        add_refused_id(part, message_id)
        note(part, f"Refused after its acceptance as {message_id}: {error}.", now)
        part.message_id, part.receipt, part.error = None, "", error
        if refusal.of_content:
            part.rendered = asdict(without_file(rendered_of(part.rendered)))
            part.plain = True
        await _try_again(session, conversation, entry, part, refusal, config.hold_s, now)
        await finish_attempt(
            session, part, "not_sent", now, Failure(error, receipt.error_code), part.next_at
        )
        return
    part.message_id = part.message_id or message_id or None
    part.state, part.receipt, part.error, part.lease_until = "failed", "failed", error, None
    part.reason_code = "refused"
    note(part, f"The provider's receipt: {error}.", now)
    await finish_attempt(
        *(session, part, "failed", now),
        Failure(receipt.description or status, receipt.error_code),
    )
    await conclude(session, entry, now)


def _may_help(refusal: Refusal, part: models.Part) -> bool:
    """Whether sending the part again may help; a provider that refuses words refuses them again."""
    return not refusal.of_content or bool(part.rendered.get("media"))


async def _try_again(
    session: AsyncSession,
    conversation: models.Conversation,
    entry: models.Outbox,
    part: models.Part,
    refusal: Refusal,
    hold_s: float,
    now: float,
) -> None:
    """A part that was refused, but not for good, waits for the person or for a while."""
    part.state, part.lease_until = "not_sent", None
    if entry.dropped_at is not None:
        drop_part(part)
    await conclude(session, entry, now)
    if part.state == "dropped":
        return
    if refusal.held:
        await hold_part(
            session,
            conversation,
            entry,
            part,
            until=now + hold_s,
            invitation=refusal.invitation,
            now=now,
        )
        return
    part.next_at = now + max(refusal.retry_after_s or 0.0, 1.0)
    if entry.state == "pending":
        entry.next_at = part.next_at
