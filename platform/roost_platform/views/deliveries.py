"""Outgoing messages: a list of them, and everything about one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.outbox.evidence import in_doubt
from roost_platform.views.delivery_views import (
    AttemptView,
    DeliveryRow,
    DeliveryView,
    attempt_of,
    part_of,
    row_of,
)
from roost_platform.views.pagination import PAGE_SIZE, like
from roost_platform.views.sessions import hidden

ATTEMPTS_SHOWN_MAX = 50

STATES = ("pending", "uncertain", "failed", "sent", "cancelled")


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """What the list is narrowed to; empty means all."""

    state: str = ""
    channel: str = ""
    text: str = ""


def has_part(state: str) -> ColumnElement[bool]:
    """Whether a logical message has a part in this state."""
    return exists().where(models.Part.outbox_id == models.Outbox.id, models.Part.state == state)


def narrowed(statement: Select[Any], by: DeliveryFilter, *, with_texts: bool) -> Select[Any]:
    """The statement with the filter's conditions; texts are searched only with `with_texts`."""
    match by.state:
        case "uncertain":
            statement = statement.where(in_doubt())
        case "failed":
            failed = has_part("failed"), has_part("expired")
            statement = statement.where(or_(models.Outbox.state == "failed", *failed))
        case "pending" | "sent" | "cancelled":
            statement = statement.where(models.Outbox.state == by.state)
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
    return total or 0, tuple(
        row_of(outbox, conversation, person, parts.get(outbox.id, []), with_texts=with_texts)
        for outbox, conversation, person in rows
    )


async def count_of(session: AsyncSession, state: str) -> int:
    """The number of messages in a state of `STATES`; one in doubt is uncertain, not failed."""
    statement = narrowed(select(func.count()), DeliveryFilter(state=state), with_texts=False)
    if state == "failed":
        statement = statement.where(~in_doubt())
    return await session.scalar(statement.select_from(models.Outbox)) or 0


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
        row=row_of(outbox, conversation, person, parts, with_texts=with_texts),
        text=outbox.text if with_texts else hidden(outbox.text),
        key=conversation.key,
        turn_id=outbox.turn_id or "",
        generation=outbox.generation,
        dedupe_key=outbox.dedupe_key,
        reply_to=str((outbox.reply_to or {}).get("message_id", "")),
        next_at=outbox.next_at,
        parts=tuple(part_of(p, tuple(tries[p.id][::-1]), with_texts=with_texts) for p in parts),
    )


async def failed_ids(session: AsyncSession, limit: int) -> list[str]:
    """The ids of messages that failed for good, oldest first, without those in doubt."""
    return list(
        await session.scalars(
            narrowed(select(models.Outbox.id), DeliveryFilter(state="failed"), with_texts=False)
            .where(~in_doubt())
            .order_by(models.Outbox.sequence)
            .limit(limit)
        )
    )


async def parts_of(session: AsyncSession, ids: list[str]) -> Mapping[str, list[models.Part]]:
    """The parts of these messages, by message, in order."""
    by_message: dict[str, list[models.Part]] = {}
    for part in await session.scalars(
        select(models.Part).where(models.Part.outbox_id.in_(ids)).order_by(models.Part.position)
    ):
        by_message.setdefault(part.outbox_id, []).append(part)
    return by_message
