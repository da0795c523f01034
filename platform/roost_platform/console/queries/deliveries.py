"""Outgoing messages with their parts, tries and evidence."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.console.queries.pages import PAGE_SIZE, like
from roost_platform.console.queries.sessions import display_title, hidden
from roost_platform.db import models
from roost_platform.db.evidence import in_doubt, is_in_doubt

PREVIEW_LENGTH_MAX = 120
ATTEMPTS_SHOWN_MAX = 50

STATES = ("pending", "uncertain", "failed", "sent", "cancelled")


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """What the list is narrowed to; empty means all."""

    state: str = ""
    channel: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One logical message.

    state: pending | uncertain | failed | sent | delivered | read | cancelled.
    """

    id: str
    conversation_id: str
    channel: str
    title: str
    kind: str
    preview: str
    state: str
    parts: int
    parts_sent: int
    attempts: int
    error: str
    created_at: float
    finished_at: float | None
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One try of one part, or one look at what became of it: see DeliveryAttempt.kind."""

    attempt: int
    kind: str
    asked: str
    concluded: str
    outcome: str
    http_status: int
    code: str
    description: str
    retry_at: float | None
    started_at: float
    duration_s: float | None


@dataclass(frozen=True, slots=True)
class PartView:
    """One physical send. evidence: what proved or disproved it, oldest first."""

    id: str
    number: int
    count: int
    state: str
    receipt: str
    attempts: int
    message_id: str
    char_start: int
    char_end: int
    text: str
    error: str
    next_at: float
    sent_at: float | None
    plain: bool
    duplicate_label: bool
    evidence: tuple[str, ...]
    tries: tuple[AttemptView, ...]


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """One logical message with everything that happened to it."""

    row: DeliveryRow
    text: str
    key: str
    turn_id: str
    generation: int
    dedupe_key: str
    reply_to: str
    next_at: float
    parts: tuple[PartView, ...]


def has_part(state: str) -> ColumnElement[bool]:
    return exists().where(models.Part.outbox_id == models.Outbox.id, models.Part.state == state)


def narrowed(statement: Select[Any], by: DeliveryFilter, *, with_texts: bool) -> Select[Any]:
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
    """How many match, and one page, newest first."""
    statement = narrowed(_joined(), by, with_texts=with_texts)
    total = await session.scalar(
        select(func.count()).select_from(statement.with_only_columns(models.Outbox.id).subquery())
    )
    found = (
        await session.execute(
            statement.order_by(models.Outbox.id.desc())
            .limit(PAGE_SIZE)
            .offset((page - 1) * PAGE_SIZE)
        )
    ).all()
    parts = await parts_of(session, [outbox.id for outbox, _, _ in found])
    return total or 0, tuple(
        _row(outbox, conversation, person, parts.get(outbox.id, []), with_texts=with_texts)
        for outbox, conversation, person in found
    )


async def count_of(session: AsyncSession, state: str) -> int:
    """How many messages are in a state of `STATES`; failed ones that are in doubt count there."""
    statement = narrowed(select(func.count()), DeliveryFilter(state=state), with_texts=False)
    if state == "failed":
        statement = statement.where(~in_doubt())
    return await session.scalar(statement.select_from(models.Outbox)) or 0


async def delivery(session: AsyncSession, id: str, *, with_texts: bool) -> DeliveryView | None:
    found = (await session.execute(_joined().where(models.Outbox.id == id))).first()
    if found is None:
        return None
    outbox, conversation, person = found
    parts = (await parts_of(session, [id])).get(id, [])
    tries: dict[str, list[AttemptView]] = {part.id: [] for part in parts}
    for attempt in await session.scalars(
        select(models.DeliveryAttempt)
        .where(models.DeliveryAttempt.part_id.in_(list(tries)))
        .order_by(models.DeliveryAttempt.id.desc())
        .limit(ATTEMPTS_SHOWN_MAX)
    ):
        tries[attempt.part_id].append(_attempt(attempt))
    return DeliveryView(
        row=_row(outbox, conversation, person, parts, with_texts=with_texts),
        text=outbox.text if with_texts else hidden(outbox.text),
        key=conversation.key,
        turn_id=outbox.turn_id or "",
        generation=outbox.generation,
        dedupe_key=outbox.dedupe_key,
        reply_to=str((outbox.reply_to or {}).get("message_id", "")),
        next_at=outbox.next_at,
        parts=tuple(_part(p, tuple(tries[p.id][::-1]), with_texts=with_texts) for p in parts),
    )


async def failed_ids(session: AsyncSession, limit: int) -> list[str]:
    """Logical messages with a part that failed for good, oldest first; not those in doubt."""
    return list(
        await session.scalars(
            narrowed(select(models.Outbox.id), DeliveryFilter(state="failed"), with_texts=False)
            .where(~in_doubt())
            .order_by(models.Outbox.sequence)
            .limit(limit)
        )
    )


async def parts_of(session: AsyncSession, ids: list[str]) -> Mapping[str, list[models.Part]]:
    found: dict[str, list[models.Part]] = {}
    for part in await session.scalars(
        select(models.Part).where(models.Part.outbox_id.in_(ids)).order_by(models.Part.position)
    ):
        found.setdefault(part.outbox_id, []).append(part)
    return found


def state_of(outbox: models.Outbox, parts: list[models.Part]) -> str:
    """One word for a logical message: its own state, sharpened by its parts and receipts."""
    states = {part.state for part in parts}
    if any(is_in_doubt(part) for part in parts):
        return "uncertain"
    if states & {"failed", "expired"} or outbox.state == "failed":
        return "failed"
    if outbox.state == "sent" and parts:
        receipts = {part.receipt for part in parts}
        if receipts == {"read"}:
            return "read"
        if receipts <= {"read", "delivered"}:
            return "delivered"
    return outbox.state


def _row(
    outbox: models.Outbox,
    conversation: models.Conversation,
    person: str | None,
    parts: list[models.Part],
    *,
    with_texts: bool,
) -> DeliveryRow:
    preview = " ".join(outbox.text.split())[:PREVIEW_LENGTH_MAX]
    return DeliveryRow(
        id=outbox.id,
        conversation_id=conversation.id,
        channel=outbox.channel,
        title=display_title(conversation, person),
        kind=outbox.kind,
        preview=preview if with_texts else hidden(outbox.text),
        state=state_of(outbox, parts),
        parts=len(parts),
        parts_sent=sum(part.state == "sent" for part in parts),
        attempts=sum(part.attempts for part in parts),
        error=next((part.error for part in parts if part.error and part.state != "sent"), ""),
        created_at=outbox.created_at,
        finished_at=outbox.finished_at,
        evidence=tuple(_evidence(line) for part in parts for line in part.evidence),
    )


def _attempt(row: models.DeliveryAttempt) -> AttemptView:
    return AttemptView(
        attempt=row.attempt,
        kind=row.kind,
        asked=row.asked,
        concluded=row.concluded,
        outcome=row.outcome,
        http_status=row.http_status,
        code=row.code,
        description=row.description,
        retry_at=row.retry_at,
        started_at=row.started_at,
        duration_s=row.finished_at - row.started_at if row.finished_at else None,
    )


def _part(part: models.Part, tries: tuple[AttemptView, ...], *, with_texts: bool) -> PartView:
    text = str(part.rendered.get("text", ""))
    return PartView(
        id=part.id,
        number=part.position + 1,
        count=part.count,
        state=part.state,
        receipt=part.receipt,
        attempts=part.attempts,
        message_id=part.message_id or "",
        char_start=part.char_start,
        char_end=part.char_end,
        text=text if with_texts else hidden(text),
        error=part.error,
        next_at=part.next_at,
        sent_at=part.sent_at,
        plain=part.plain,
        duplicate_label=part.duplicate_label,
        evidence=tuple(_evidence(entry) for entry in part.evidence),
        tries=tries,
    )


def _evidence(entry: Any) -> str:
    if isinstance(entry, dict):
        entry = {name: value for name, value in entry.items() if name != "at"}
        if set(entry) == {"note"}:
            return str(entry["note"])
        return ", ".join(
            f"{name} {value}" for name, value in entry.items() if value not in ("", None)
        )
    return str(entry)
