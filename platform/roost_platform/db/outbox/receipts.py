"""What providers tell afterwards: delivery receipts, and which message a quote means."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import bindparam, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.delivery.parts import without_file
from roost_channels.intake import Refusal
from roost_channels.message import Address, Quote
from roost_channels.outbox import EarlierSend
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.inbox.homes import is_chat
from roost_platform.db.outbox.evidence import look
from roost_platform.db.outbox.part_states import (
    add_refused_id,
    conclude,
    finish_attempt,
    hold_conversation_of,
    lock_part,
    mark_sent,
    note,
    parts_of,
    rendered_of,
    was_refused,
)
from roost_platform.db.outbox.window import HOLD_S, hold_part
from roost_platform.db.turns.transcript import content_of

# Later states win; a failure is the last word unless the person has it already.
RANK = {"": 0, "sent": 1, "delivered": 2, "read": 3}
ACCEPTED = frozenset({"accepted", "scheduled", "queued", "sending", "sent", "delivered", "read"})
FAILED = frozenset({"failed", "undelivered", "canceled"})
GIVEN_UP = frozenset({"not_sent", "failed", "expired"})
# As DeliveryConfig.give_up_s, for refusals that come after the acceptance.
GIVE_UP_S = 259_200.0


# Asked before every part of channels that keep no order, so made once.
_PARTS_BEFORE = (
    select(models.Part)
    .join(models.Conversation, models.Conversation.id == models.Part.conversation_id)
    .where(
        models.Conversation.key == bindparam("key"),
        models.Part.sent_at.is_not(None),
        models.Part.id != bindparam("than"),
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
    """Implements `roost_channels.outbox.Receipts`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def earlier(
        self, address: Address, *, than: str, limit: int = 1
    ) -> Sequence[EarlierSend]:
        """As the port says; of status messages only the newest turn's, which are said within it."""
        key = {"key": address.key}
        async with self._database.read() as session:
            parts = await session.scalars(_PARTS_BEFORE, {**key, "than": than, "limit": limit})
            found = [_earlier(part) for part in parts]
            for row in await session.scalars(_STATUS_BEFORE, key):
                found.append(EarlierSend("", str(row.message_id), row.edited_at))
        return sorted(found, key=lambda one: one.taken_at, reverse=True)[:limit]


def _earlier(part: models.Part) -> EarlierSend:
    # Parts that are on no way now are waited for by nobody, also if they must go once more.
    told = "failed" if part.state in GIVEN_UP else part.receipt
    return EarlierSend(part.id, part.message_id or "", part.sent_at or 0.0, told)


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
    refusal: Refusal | None,
    now: float,
) -> None:
    """Apply a receipt in any order and any number of times; it may prove an uncertain send."""
    conversation = await hold_conversation_of(session, part_id) if refusal else None
    entry, part = await lock_part(session, part_id)
    if was_refused(part, message_id):
        return  # late or doubled, about a try before this one
    if status in FAILED:
        if RANK.get(part.receipt, 0) >= RANK["delivered"]:
            note(part, f"A late receipt says {status}, but it was {part.receipt} before.", now)
            return
        if part.receipt == "failed":
            return
        what = " ".join(filter(None, (status, error_code, description)))
        is_young = now - entry.created_at < GIVE_UP_S and entry.kind != "invitation"
        if refusal is not None and conversation is not None and is_young and _helps(refusal, part):
            add_refused_id(part, message_id)
            note(part, f"Refused after its acceptance as {message_id}: {what}.", now)
            part.message_id, part.receipt, part.error = None, "", what
            if refusal.of_content:
                part.rendered = asdict(without_file(rendered_of(part.rendered)))
                part.plain = True
            await _again(session, conversation, entry, part, refusal, now)
            await finish_attempt(session, part, "not_sent", now, what, error_code, 0, part.next_at)
            return
        part.message_id = part.message_id or message_id or None
        part.state, part.receipt, part.error, part.lease_until = "failed", "failed", what, None
        part.reason_code = "refused"
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
        await look(
            session,
            part,
            now,
            kind="receipt",
            asked="the provider's receipt",
            answered=f"{status}, message {message_id}",
            concluded=f"A receipt ({status}) proves that it was sent.",
        )
        await mark_sent(session, entry, part, message_id, now)
    if RANK.get(status, 0) > RANK.get(part.receipt, 0):
        part.receipt = status


def _helps(refusal: Refusal, part: models.Part) -> bool:
    """Whether sending it again may help: words that were refused stay refused."""
    return not refusal.of_content or bool(part.rendered.get("media"))


async def _again(
    session: AsyncSession,
    conversation: models.Conversation,
    entry: models.Outbox,
    part: models.Part,
    refusal: Refusal,
    now: float,
) -> None:
    """Accepted and then refused, but not for good: it waits for the person, or for a while."""
    part.state, part.lease_until = "not_sent", None
    await conclude(session, entry, now)
    if refusal.held:
        await hold_part(
            session,
            conversation,
            entry,
            part,
            until=now + HOLD_S,
            invitation=refusal.invitation,
            now=now,
        )
        return
    part.next_at = now + max(refusal.retry_after_s or 0.0, 1.0)
    if entry.state == "pending":
        entry.next_at = part.next_at


async def find_quote(
    session: AsyncSession, channel: str, account: str, chat: str, ref: str
) -> Quote | None:
    """A message of this chat as a quote: inbound, one of our parts, or a status message."""
    here = is_chat(channel, account, chat)
    inbound = await session.scalar(
        select(models.Inbox)
        .join(models.Conversation, models.Conversation.id == models.Inbox.conversation_id)
        .where(
            here,
            models.Inbox.message_id == ref,
            or_(models.Inbox.kind == "message", models.Inbox.kind == "edited"),
        )
        .order_by(models.Inbox.sequence.desc())
        .limit(1)
    )
    if inbound is not None:
        said = inbound.text or content_of(inbound)  # a file alone is quoted by its name
        return Quote(ref=ref, author="user", text=said, excerpt=said, utf16_start=0)
    part = await session.scalar(
        select(models.Part)
        .join(models.Conversation, models.Conversation.id == models.Part.conversation_id)
        .where(here, models.Part.message_id == ref)
        .limit(1)
    )
    if part is not None:
        return await _part_quote(session, part, ref)
    status = await session.scalar(
        select(models.StatusMessageRow.shown)
        .join(
            models.Conversation, models.Conversation.id == models.StatusMessageRow.conversation_id
        )
        .where(here, models.StatusMessageRow.message_id == ref)
        .limit(1)
    )
    if status is None:
        return None
    return Quote(ref=ref, author="bot", text=status, excerpt=status, utf16_start=0)


async def _part_quote(session: AsyncSession, part: models.Part, ref: str) -> Quote:
    """The whole logical message, and the passage or the file that this part carried."""
    words = [_words(row.rendered) for row in await parts_of(session, part.outbox_id)]
    before = "".join(words[: part.position])
    return Quote(
        ref=ref,
        author="bot",
        text="".join(words),
        excerpt=words[part.position],
        utf16_start=len(before.encode("utf-16-le")) // 2,
    )


def _words(rendered: Mapping[str, Any]) -> str:
    """A part as people refer to it: a file has a name, and maybe a caption."""
    media = rendered.get("media")
    name = f"[{media['kind']}: {media['name'] or media['artifact_id']}]" if media else ""
    return " ".join(filter(None, (name, str(rendered["text"]))))
