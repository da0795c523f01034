"""What providers tell afterwards: delivery receipts, and which message a quote means."""

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import Quote
from roost_platform.db import models
from roost_platform.db.part_states import (
    HELD_CODES,
    conclude,
    finish_attempt,
    lock_part,
    mark_sent,
    note,
    parts_of,
)

# Later states win; a failure is the last word unless the person has it already.
RANK = {"": 0, "sent": 1, "delivered": 2, "read": 3}
ACCEPTED = frozenset({"accepted", "scheduled", "queued", "sending", "sent", "delivered", "read"})
FAILED = frozenset({"failed", "undelivered", "canceled"})
# As DeliveryConfig.hold_s and give_up_s, for refusals that come after the acceptance.
HOLD_S = 21_600.0
GIVE_UP_S = 259_200.0


async def find_part(
    session: AsyncSession, channel: str, account: str, part_id: str, message_id: str
) -> str | None:
    """The part of a receipt: by our own id, which travelled with it, else by the provider's."""
    query = (
        select(models.Part.id)
        .join(models.Outbox, models.Outbox.id == models.Part.outbox_id)
        .where(models.Outbox.channel == channel, models.Outbox.account == account)
    )
    if part_id:
        found = await session.scalar(query.where(models.Part.id == part_id))
        if found is not None:
            return found
    if not message_id:
        return None
    return await session.scalar(query.where(models.Part.message_id == message_id).limit(1))


async def record_receipt(
    session: AsyncSession,
    part_id: str,
    *,
    message_id: str,
    status: str,
    error_code: str,
    description: str,
    now: float,
) -> None:
    """Apply a receipt in any order and any number of times; it may prove an uncertain send."""
    entry, part = await lock_part(session, part_id)
    if _is_about_an_earlier_try(part, message_id):
        return
    if status in FAILED:
        if RANK.get(part.receipt, 0) >= RANK["delivered"]:
            note(part, f"A late receipt says {status}, but it was {part.receipt} before.", now)
            return
        if part.receipt == "failed":
            return
        what = " ".join(filter(None, (status, error_code, description)))
        if error_code in HELD_CODES and now - entry.created_at < GIVE_UP_S:
            await _hold(session, entry, part, message_id, what, error_code, now)
            return
        part.message_id = part.message_id or message_id or None
        part.state, part.receipt, part.error, part.lease_until = "failed", "failed", what, None
        note(part, f"The provider's receipt: {what}.", now)
        await finish_attempt(session, part, "failed", now, description or status, error_code)
        await conclude(session, entry, now)
        return
    if status not in ACCEPTED:
        return
    if part.receipt == "failed":
        note(part, f"A receipt says {status} after a failure; the failure stands.", now)
        return
    if part.state != "sent" and message_id:
        note(part, f"A receipt ({status}) proves that it was sent.", now)
        await mark_sent(session, entry, part, message_id, now)
    if RANK.get(status, 0) > RANK.get(part.receipt, 0):
        part.receipt = status


def _is_about_an_earlier_try(part: models.Part, message_id: str) -> bool:
    """Late and doubled receipts of a try that was refused say nothing about the next."""
    return any(line["note"].startswith(_refusal(message_id)) for line in part.evidence)


def _refusal(message_id: str) -> str:
    return f"Window closed for {message_id}:"


async def _hold(
    session: AsyncSession,
    entry: models.Outbox,
    part: models.Part,
    message_id: str,
    what: str,
    code: str,
    now: float,
) -> None:
    """Accepted, then refused because the session window is closed: it waits for the person."""
    note(part, f"{_refusal(message_id)} {what}. It is sent when the person writes again.", now)
    part.state, part.message_id, part.receipt = "not_sent", None, ""
    part.error, part.lease_until, part.next_at = what, None, now + HOLD_S
    await finish_attempt(session, part, "not_sent", now, what, code, retry_at=part.next_at)
    await conclude(session, entry, now)
    if entry.state == "pending":
        entry.next_at = part.next_at


async def find_quote(
    session: AsyncSession, channel: str, account: str, chat: str, ref: str
) -> Quote | None:
    """A message of this chat as a quote: inbound, one of our parts, or a status message."""
    here = (
        models.Conversation.channel == channel,
        models.Conversation.account == account,
        models.Conversation.chat == chat,
    )
    inbound = await session.scalar(
        select(models.Inbox)
        .join(models.Conversation, models.Conversation.id == models.Inbox.conversation_id)
        .where(
            *here,
            models.Inbox.message_id == ref,
            or_(models.Inbox.kind == "message", models.Inbox.kind == "edited"),
        )
        .order_by(models.Inbox.sequence.desc())
        .limit(1)
    )
    if inbound is not None:
        return Quote(ref=ref, author="user", text=inbound.text, excerpt=inbound.text, utf16_start=0)
    part = await session.scalar(
        select(models.Part)
        .join(models.Conversation, models.Conversation.id == models.Part.conversation_id)
        .where(*here, models.Part.message_id == ref)
        .limit(1)
    )
    if part is not None:
        return await _part_quote(session, part, ref)
    status = await session.scalar(
        select(models.StatusMessageRow.shown)
        .join(
            models.Conversation, models.Conversation.id == models.StatusMessageRow.conversation_id
        )
        .where(*here, models.StatusMessageRow.message_id == ref)
        .limit(1)
    )
    if status is None:
        return None
    return Quote(ref=ref, author="bot", text=status, excerpt=status, utf16_start=0)


async def _part_quote(session: AsyncSession, part: models.Part, ref: str) -> Quote:
    """The whole logical message, and the passage that this part carried."""
    texts = [str(row.rendered["text"]) for row in await parts_of(session, part.outbox_id)]
    before = "".join(texts[: part.position])
    return Quote(
        ref=ref,
        author="bot",
        text="".join(texts),
        excerpt=texts[part.position],
        utf16_start=len(before.encode("utf-16-le")) // 2,
    )


async def wake_held_sends(
    session: AsyncSession, conversation: models.Conversation, now: float
) -> None:
    """The person wrote again: what waited for an open session window may go at once."""
    refused = (
        select(models.DeliveryAttempt.id)
        .where(
            models.DeliveryAttempt.part_id == models.Part.id,
            models.DeliveryAttempt.attempt == models.Part.attempts,
            models.DeliveryAttempt.code.in_(HELD_CODES),
        )
        .exists()
    )
    found = await session.execute(
        select(models.Part.id, models.Part.outbox_id).where(
            models.Part.conversation_id == conversation.id,
            models.Part.state == "not_sent",
            models.Part.next_at > now,
            refused,
        )
    )
    held = found.all()
    if held:
        parts, entries = [row[0] for row in held], [row[1] for row in held]
        wake = {"next_at": now}
        await session.execute(update(models.Part).where(models.Part.id.in_(parts)).values(**wake))
        await session.execute(
            update(models.Outbox).where(models.Outbox.id.in_(entries)).values(**wake)
        )
