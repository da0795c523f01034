"""Outgoing messages: a list of them, and everything about one."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.outbox.evidence import in_doubt
from roost_platform.views.channels import account_labels
from roost_platform.views.delivery_views import (
    AttemptView,
    DeliveryRow,
    DeliveryView,
    attempt_of,
    part_of,
    parts_of,
    row_of,
)
from roost_platform.views.pagination import PAGE_SIZE, like
from roost_platform.views.sessions import hidden

ATTEMPTS_SHOWN_MAX = 50

STALLED_S = 60.0  # a message that waits for longer needs a look

STATES = ("pending", "uncertain", "failed", "sent", "cancelled")


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """What the list is narrowed to; empty means all."""

    state: str = ""
    channel: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Stalled:
    """Messages to one account that should have left long ago. since: when the oldest was queued."""

    channel: str
    account: str
    count: int
    since: float


def has_state(state: str) -> ColumnElement[bool]:
    """Whether a logical message is in this state of STATES: `state_of` as a condition."""
    lost = select(models.Part.outbox_id).where(models.Part.state.in_(("failed", "expired")))
    failed = or_(models.Outbox.state == "failed", models.Outbox.id.in_(lost))
    match state:
        case "uncertain":
            return in_doubt()
        case "failed":
            return and_(failed, ~in_doubt())
    return and_(models.Outbox.state == state, ~failed, ~in_doubt())


def narrowed(statement: Select[Any], by: DeliveryFilter, *, with_texts: bool) -> Select[Any]:
    """The statement with the filter's conditions; texts are searched only with `with_texts`."""
    if by.state:
        statement = statement.where(has_state(by.state))
    if by.channel:
        statement = statement.where(models.Outbox.channel == by.channel)
    if by.text:
        pattern = like(by.text)
        columns = [models.Conversation.key, models.Identity.display_name]
        columns += [models.Outbox.text] if with_texts else []
        statement = statement.where(or_(*(c.ilike(pattern, escape="\\") for c in columns)))
    return statement


def _joined() -> Select[Any, Any, Any]:
    return (
        select(models.Outbox, models.Conversation, models.Identity.display_name)
        .join(models.Conversation, models.Conversation.id == models.Outbox.conversation_id)
        .outerjoin(models.Identity, models.Identity.id == models.Conversation.identity_id)
    )


async def deliveries(
    session: AsyncSession, by: DeliveryFilter, page: int, *, with_texts: bool
) -> tuple[int, tuple[DeliveryRow, ...]]:
    """The number of messages that match, and one page of them, newest first."""
    statement = narrowed(_joined(), by, with_texts=with_texts)
    total = await session.scalar(
        select(func.count()).select_from(statement.with_only_columns(models.Outbox.id).subquery())
    )
    rows = (
        await session.execute(
            statement.order_by(models.Outbox.id.desc())
            .limit(PAGE_SIZE)
            .offset((page - 1) * PAGE_SIZE)
        )
    ).all()
    parts = await parts_of(session, [outbox.id for outbox, _, _ in rows])
    labels = await account_labels(session)
    return total or 0, tuple(
        row_of(
            outbox, conversation, person, parts.get(outbox.id, []), labels, with_texts=with_texts
        )
        for outbox, conversation, person in rows
    )


async def count_of(session: AsyncSession, state: str) -> int:
    """The number of messages in a state of `STATES`; one in doubt is uncertain, not failed."""
    return await session.scalar(select(func.count()).where(has_state(state))) or 0


async def stalled(session: AsyncSession, now: float) -> tuple[Stalled, ...]:
    """Accounts whose messages wait for longer than STALLED_S, the longest wait first.

    A message that waits for its person, or for a time that the network asked for, is not stalled.
    """
    held = select(models.Part.outbox_id).where(
        models.Part.held, models.Part.state.in_(("planned", "not_sent"))
    )
    quiet = exists().where(
        models.ChatWait.channel == models.Conversation.channel,
        models.ChatWait.account == models.Conversation.account,
        models.ChatWait.chat == models.Conversation.chat,
        models.ChatWait.until > now,
    )
    outbox = models.Outbox
    oldest = func.min(outbox.created_at)
    rows = await session.execute(
        select(outbox.channel, outbox.account, func.count(), oldest)
        .join(models.Conversation, models.Conversation.id == outbox.conversation_id)
        .where(has_state("pending"), outbox.created_at < now - STALLED_S)
        .where(outbox.id.not_in(held), ~quiet)
        .group_by(outbox.channel, outbox.account)
        .order_by(oldest)
    )
    return tuple(Stalled(*row) for row in rows)


async def delivery(session: AsyncSession, id: str, *, with_texts: bool) -> DeliveryView | None:
    """Everything about one message; None if there is none."""
    row = (await session.execute(_joined().where(models.Outbox.id == id))).first()
    if row is None:
        return None
    outbox, conversation, person = row
    parts = (await parts_of(session, [id])).get(id, [])
    tries: dict[str, list[AttemptView]] = {part.id: [] for part in parts}
    for attempt in await session.scalars(
        select(models.DeliveryAttempt)
        .where(models.DeliveryAttempt.part_id.in_(list(tries)))
        .order_by(models.DeliveryAttempt.id.desc())
        .limit(ATTEMPTS_SHOWN_MAX)
    ):
        tries[attempt.part_id].append(attempt_of(attempt))
    return DeliveryView(
        row=row_of(
            *(outbox, conversation, person, parts, await account_labels(session)),
            with_texts=with_texts,
        ),
        text=outbox.text if with_texts else hidden(outbox.text),
        key=conversation.key,
        turn_id=outbox.turn_id or "",
        generation=outbox.generation,
        dedupe_key=outbox.dedupe_key,
        reply_to=str((outbox.reply_to or {}).get("message_id", "")),
        next_at=outbox.next_at,
        parts=tuple(
            part_of(
                p,
                tuple(tries[p.id][::-1]),
                is_pending=outbox.state == "pending",
                with_texts=with_texts,
            )
            for p in parts
        ),
    )


async def failed_ids(session: AsyncSession, limit: int) -> list[str]:
    """The ids of messages that failed for good, oldest first, without those in doubt."""
    return list(
        await session.scalars(
            select(models.Outbox.id)
            .where(has_state("failed"))
            .order_by(models.Outbox.sequence)
            .limit(limit)
        )
    )
