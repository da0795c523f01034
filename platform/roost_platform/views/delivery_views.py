"""Outgoing messages, their parts, attempts and evidence, as pages show them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.outbox.evidence import is_in_doubt
from roost_platform.views.channels import SEEN_BY_OPERATORS
from roost_platform.views.sessions import display_title, hidden

PREVIEW_LENGTH_MAX = 120


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One logical message.

    account: which account of its channel, where the channel has several; else empty.
    state: pending | uncertain | failed | sent | delivered | read | cancelled.
    attempts: how often it was tried, over all its parts.
    """

    id: str
    conversation_id: str
    channel: str
    account: str
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
    """One attempt to send a part, or one look for its outcome: see DeliveryAttempt.kind."""

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
    """One physical send. evidence: what proved or disproved it, oldest first.

    shown: its state in the words of the pages; in_doubt: nobody knows whether it arrived.
    waits: whether it is to be tried at next_at; held: it waits for the person to write again.
    """

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
    waits: bool
    held: bool
    next_at: float
    sent_at: float | None
    plain: bool
    duplicate_label: bool
    evidence: tuple[str, ...]
    tries: tuple[AttemptView, ...]
    in_doubt: bool = False

    @property
    def shown(self) -> str:
        """The state as pages show it: what the provider's receipt says, once it was sent."""
        if self.in_doubt:
            return "uncertain"
        has_receipt = self.state == "sent" and self.receipt in ("delivered", "read")
        return self.receipt if has_receipt else self.state


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


def state_of(outbox: models.Outbox, parts: list[models.Part]) -> str:
    """The state of a logical message in one word, from its own state, its parts and receipts."""
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


async def parts_of(session: AsyncSession, ids: list[str]) -> Mapping[str, list[models.Part]]:
    """The parts of these messages, by message, in order."""
    by_message: dict[str, list[models.Part]] = {}
    for part in await session.scalars(
        select(models.Part).where(models.Part.outbox_id.in_(ids)).order_by(models.Part.position)
    ):
        by_message.setdefault(part.outbox_id, []).append(part)
    return by_message


def row_of(
    outbox: models.Outbox,
    conversation: models.Conversation,
    person: str | None,
    parts: list[models.Part],
    labels: Mapping[tuple[str, str], str],
    *,
    with_texts: bool,
) -> DeliveryRow:
    """The row of a logical message in the list."""
    preview = " ".join(outbox.text.split())[:PREVIEW_LENGTH_MAX]
    return DeliveryRow(
        id=outbox.id,
        conversation_id=conversation.id,
        channel=outbox.channel,
        account=labels.get((outbox.channel, outbox.account), ""),
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


def attempt_of(row: models.DeliveryAttempt) -> AttemptView:
    """One attempt as pages show it."""
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


def part_of(
    part: models.Part, tries: tuple[AttemptView, ...], *, is_pending: bool, with_texts: bool
) -> PartView:
    """One part as pages show it, with its attempts. is_pending: its message is still to be sent."""
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
        waits=part.state in ("planned", "not_sent") and is_pending,
        held=part.held,
        next_at=part.next_at,
        sent_at=part.sent_at,
        plain=part.plain,
        duplicate_label=part.duplicate_label,
        evidence=tuple(_evidence(entry) for entry in part.evidence),
        tries=tries,
        in_doubt=is_in_doubt(part),
    )


def plain_rows(rows: Sequence[DeliveryRow]) -> tuple[DeliveryRow, ...]:
    """Deliveries for viewers: without errors and evidence."""
    return tuple(replace(row, error=_plain(row.error), evidence=()) for row in rows)


def plain_delivery(view: DeliveryView) -> DeliveryView:
    """One delivery for viewers: without errors, answers and evidence."""
    (row,) = plain_rows([view.row])
    return replace(view, row=row, parts=tuple(_plain_part(part) for part in view.parts))


def _plain_part(part: PartView) -> PartView:
    tries = tuple(replace(one, description="", asked="", concluded="") for one in part.tries)
    return replace(part, error=_plain(part.error), evidence=(), tries=tries)


def _plain(error: str) -> str:
    return SEEN_BY_OPERATORS if error else ""


def _evidence(entry: Any) -> str:
    if isinstance(entry, dict):
        entry = {name: value for name, value in entry.items() if name != "at"}
        if set(entry) == {"note"}:
            return str(entry["note"])
        return ", ".join(
            f"{name} {value}" for name, value in entry.items() if value not in ("", None)
        )
    return str(entry)
