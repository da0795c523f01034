"""State changes of entries and parts that lanes, receipts and operators share."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.clock import Passed
from roost_channels.errors import Failure
from roost_channels.message import Address, Button, Media
from roost_channels.outbox import EntryKind, OutboxEntry, PartState, StoredPart
from roost_channels.rendering.parts import Entity, RenderedPart
from roost_platform.db import models
from roost_platform.db.base.committed.facts import DeliveryEnded, SendAttempted, record
from roost_platform.db.base.committed.told import tell
from roost_platform.db.locks import lock_conversation
from roost_platform.db.reply_targets import reply_target_of
from roost_platform.db.schedules.undelivered import lock_schedule_of
from roost_platform.db.turns.dropping import correct_notice
from roost_platform.db.waits.unreachable import lock_card
from roost_platform.errors import NotFound

EVIDENCE_MAX = 50  # lines kept per part; the oldest go first
REFUSED_IDS_MAX = 50  # provider ids kept per part, the newest

# Each part takes a dozen transactions that begin with the same statements, so they are made once.
_ENTRY_OF = select(models.Part.outbox_id).where(models.Part.id == bindparam("id"))
_HEAD = (
    select(models.Outbox, models.StatusMessageRow.left_at)
    .join(models.Conversation, models.Conversation.id == models.Outbox.conversation_id)
    .outerjoin(models.StatusMessageRow, models.StatusMessageRow.turn_id == models.Outbox.turn_id)
    .where(models.Conversation.key == bindparam("key"), models.Outbox.state == "pending")
    .order_by(models.Outbox.sequence)
    .limit(1)
)
_PARTS = (
    select(models.Part)
    .where(models.Part.outbox_id == bindparam("id"))
    .order_by(models.Part.position)
)
_LAST_TRY = (
    select(models.DeliveryAttempt)
    .where(models.DeliveryAttempt.part_id == bindparam("id"), models.DeliveryAttempt.kind == "send")
    .order_by(models.DeliveryAttempt.attempt.desc())
    .limit(1)
)
_SENT_OF_ACCOUNT = (
    update(models.ChannelState)
    .where(
        models.ChannelState.channel == bindparam("of_channel"),
        models.ChannelState.account == bindparam("of_account"),
    )
    .values(last_out_at=bindparam("now"))
    .execution_options(synchronize_session=False)
)


async def lock_part(session: AsyncSession, part_id: str) -> tuple[models.Outbox, models.Part]:
    """Lock a part and its entry; the entry's lock is always taken first."""
    entry_id = await session.scalar(_ENTRY_OF, {"id": part_id})
    if entry_id is None:
        raise NotFound(f"No part {part_id}.")
    entry = await session.get_one(models.Outbox, entry_id, with_for_update=True)
    part = await session.get_one(models.Part, part_id, with_for_update=True)
    return entry, part


def is_leased(part: models.Part, now: float, passed: Passed) -> bool:
    """Whether somebody may still be sending the part. A clock that is set forward ends no lease."""
    if part.state != "sending" or part.lease_until is None:
        return False
    if part.started_at is None:
        return part.lease_until > now
    return passed.since(part.started_at) < part.lease_until - part.started_at


async def lock_conversation_of(session: AsyncSession, part_id: str) -> models.Conversation:
    """Lock the conversation of a part; taken before the part's own locks where both are needed."""
    conversation_id = await session.scalar(
        select(models.Part.conversation_id).where(models.Part.id == part_id)
    )
    if conversation_id is None:
        raise NotFound(f"No part {part_id}.")
    return await lock_conversation(session, conversation_id)


async def lock_card_of(session: AsyncSession, part_id: str) -> None:
    """Lock the conversation behind the card that the part belongs to, if it is one's."""
    entry_id = await session.scalar(_ENTRY_OF, {"id": part_id})
    if entry_id is not None:
        await lock_card(session, entry_id)


async def lock_behind(session: AsyncSession, part_id: str) -> None:
    """Lock the conversations in which the failure of a part decides something."""
    await lock_card_of(session, part_id)
    entry_id = await session.scalar(_ENTRY_OF, {"id": part_id})
    if entry_id is not None:
        await lock_schedule_of(session, entry_id)


async def head_of(session: AsyncSession, address: Address) -> tuple[models.Outbox, float] | None:
    """The oldest unfinished entry of a lane, and the `left_at` of its turn's status message."""
    row = (await session.execute(_HEAD, {"key": address.key})).first()
    return None if row is None else (row[0], row[1] or 0.0)


async def parts_of(session: AsyncSession, entry_id: str) -> Sequence[models.Part]:
    """The parts of an entry, in their order."""
    return (await session.scalars(_PARTS, {"id": entry_id})).all()


def entry_of(
    row: models.Outbox, address: Address, edits: str = "", status_left_at: float = 0.0
) -> OutboxEntry:
    """An outbox row as the lanes see it. edits: the provider's id of what it replaces."""
    return OutboxEntry(
        id=row.id,
        address=address,
        kind=cast(EntryKind, row.kind),
        text=row.text,
        reply_to=reply_target_of(row.reply_to),
        buttons=tuple(Button(**button) for button in row.buttons),
        turn_id=row.turn_id,
        generation=row.generation,
        created_at=row.created_at,
        media=tuple(Media(**media) for media in row.media or ()),
        is_dropped=row.dropped_at is not None,
        edits_id=row.edits_id or "",
        edits=edits,
        status_left_at=status_left_at,
    )


def part_of(row: models.Part) -> StoredPart:
    """A part's row as the lanes see it."""
    return StoredPart(
        id=row.id,
        outbox_id=row.outbox_id,
        index=row.position,
        count=row.count,
        rendered=rendered_of(row.rendered),
        state=cast(PartState, row.state),
        attempts=row.attempts,
        next_at=row.next_at,
        message_id=row.message_id,
        started_at=row.started_at,
        plain=row.plain,
        duplicate_label=row.duplicate_label,
    )


def rendered_of(value: Mapping[str, Any]) -> RenderedPart:
    """A rendering as it was stored."""
    entities = tuple(Entity(**entity) for entity in value["entities"])
    media = value.get("media")
    fields = {**value, "entities": entities, "media": Media(**media) if media else None}
    return RenderedPart(**fields)


def note(part: models.Part, text: str, now: float) -> None:
    """Add a line for operators. The list is a new one, or SQLAlchemy would not see the change."""
    part.evidence = [*part.evidence, {"at": now, "note": text}][-EVIDENCE_MAX:]


def add_refused_id(part: models.Part, message_id: str) -> None:
    """Remember an id under which the provider took the part and then refused it."""
    part.refused_ids = [*(part.refused_ids or ()), message_id][-REFUSED_IDS_MAX:]


def was_refused(part: models.Part, message_id: str) -> bool:
    """Whether a receipt reported that this try failed, and the part was planned again since."""
    return message_id in (part.refused_ids or ())


# The part is finished: a late word about it changes nothing but a proof that it was sent.
FINISHED = ("sent", "failed", "dropped")
NO_FAILURE = Failure()


async def finish_attempt(
    session: AsyncSession,
    part: models.Part,
    outcome: str,
    now: float,
    failure: Failure = NO_FAILURE,
    retry_at: float | None = None,
) -> None:
    """Record how the part's last try ended."""
    attempt = await session.scalar(_LAST_TRY, {"id": part.id})
    if attempt is None:
        return
    has_answer = bool(failure.code or failure.http_status)
    if attempt.outcome == "ambiguous" and not has_answer:
        # What came back of an uncertain try stays on record: this is only our conclusion.
        attempt.outcome = "sent" if outcome == "sent" else "ambiguous"
        attempt.retry_at = retry_at
        return
    record(session, SendAttempted(outcome))
    attempt.outcome, attempt.finished_at = outcome, now
    attempt.description, attempt.code = failure.error, failure.code
    attempt.http_status, attempt.retry_at = failure.http_status, retry_at


async def mark_sent(
    session: AsyncSession, entry: models.Outbox, part: models.Part, message_id: str, now: float
) -> None:
    """Record that the provider took a part, once; only receipts tell how far it came."""
    if part.state == "sent":
        return
    part.state, part.message_id, part.sent_at = "sent", message_id, now
    part.error, part.reason_code, part.lease_until = "", "", None
    await finish_attempt(session, part, "sent", now)
    await conclude(session, entry, now, part)
    account = {"of_channel": entry.channel, "of_account": entry.account}
    await session.execute(_SENT_OF_ACCOUNT, {**account, "now": now})


async def conclude(
    session: AsyncSession, entry: models.Outbox, now: float, part: models.Part | None = None
) -> None:
    """Set the entry's state from the states of its parts. part: the one that has just changed."""
    before = entry.state
    if part is not None and part.count == 1:
        states = [part.state]
    else:
        await session.flush()
        states = [one.state for one in await parts_of(session, entry.id)]
    if "failed" in states:
        entry.state, entry.finished_at = "failed", now
    elif all(state == "sent" for state in states):
        entry.state, entry.finished_at = "sent", now
    elif all(state in ("sent", "dropped") for state in states):
        entry.state, entry.finished_at = "cancelled", now
    else:
        entry.state, entry.finished_at, entry.next_at = "pending", None, now
    if entry.dropped_at is not None and entry.state != "pending":
        await correct_notice(session, entry)
    if entry.state != before and entry.state != "pending":
        tell(
            session,
            f"delivery {entry.state}",
            outbox_id=entry.id,
            conversation_id=entry.conversation_id,
            turn_id=entry.turn_id,
            kind=entry.kind,
            parts=len(states),
        )
        record(session, _fact_of(entry, now))


def _fact_of(entry: models.Outbox, now: float) -> DeliveryEnded:
    return DeliveryEnded(
        outbox_id=entry.id,
        turn_id=entry.turn_id,
        conversation_id=entry.conversation_id,
        channel=entry.channel,
        kind=entry.kind,
        state=entry.state,
        created_at=entry.created_at,
        finished_at=now,
    )
