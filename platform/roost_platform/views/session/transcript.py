"""The transcript of a session: messages, tool calls, quotes and notices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.views.delivery_views import parts_of, state_of

MESSAGES_SHOWN_MAX = 200
WAITING_SHOWN_MAX = 20


@dataclass(frozen=True, slots=True)
class QuoteView:
    """A quoted passage and its author."""

    author: str
    excerpt: str
    resolved: bool


@dataclass(frozen=True, slots=True)
class CallView:
    """One tool call. arguments is JSON text; duration_s None while it has not ended.

    error: the trace of a tool that broke, for operators.
    """

    call_id: str
    name: str
    arguments: str
    effect: str
    state: str
    attempts: int
    result: str
    duration_s: float | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Bubble:
    """One entry of the transcript. role: user | assistant | operator | notice | error.

    forwarded_from, payload: as in InboundMessage.
    waits: why it is not part of a turn yet: pending | held; empty once it is.
    note: what happened to it, in words.
    delivery: the state of the message that carried it, see DeliveryRow; empty if none did.
    """

    id: str
    role: str
    text: str
    at: float
    author: str = ""
    forwarded_from: str = ""
    payload: str = ""
    quote: QuoteView | None = None
    calls: tuple[CallView, ...] = ()
    waits: str = ""
    note: str = ""
    delivery: str = ""
    outbox_id: str = ""
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """A page of a transcript.

    earlier: how many messages are before it. first: the position of its first message.
    """

    bubbles: tuple[Bubble, ...] = ()
    earlier: int = 0
    first: int = 0


async def bubbles_of(
    session: AsyncSession,
    row: models.Conversation,
    chosen: models.Session | None,
    identity: models.Identity | None,
    calls: Mapping[str, list[models.ToolCall]],
    before: int | None = None,
) -> Shown:
    """One page of messages in order, with notices between them.

    before: the messages before this position; None: the newest.
    """
    if chosen is None:
        return Shown()
    conditions = (models.Transcript.session_id == chosen.id, models.Transcript.role != "tool")
    older = [] if before is None else [models.Transcript.position < before]
    entries = (
        await session.scalars(
            select(models.Transcript)
            .where(*conditions, *older)
            .order_by(models.Transcript.position.desc())
            .limit(MESSAGES_SHOWN_MAX)
        )
    ).all()[::-1]
    first = entries[0].position if entries else 0
    earlier = await session.scalar(
        select(func.count()).where(*conditions, models.Transcript.position < first)
    )
    since = entries[0].created_at if earlier else chosen.created_at
    until = None
    if before is not None:
        until = await session.scalar(
            select(func.min(models.Transcript.created_at)).where(
                *conditions, models.Transcript.position >= before
            )
        )
    sent = (
        await session.scalars(
            select(models.Outbox)
            .where(
                models.Outbox.conversation_id == row.id,
                models.Outbox.created_at >= since,
                models.Outbox.created_at <= (chosen.closed_at or float("inf")),
                *([] if until is None else [models.Outbox.created_at < until]),
            )
            .order_by(models.Outbox.sequence.desc())
            .limit(MESSAGES_SHOWN_MAX)
        )
    ).all()[::-1]
    states = await delivery_states(session, sent)
    answers = {o.turn_id: o for o in sent if o.kind == "answer" and o.turn_id}
    replies = {o.dedupe_key.removeprefix("operator:"): o for o in sent}
    by_call = {(c.turn_id, c.call_id): c for turn in calls.values() for c in turn}
    person = identity.display_name if identity else row.title or row.chat
    bubbles = []
    for entry in entries:
        is_answer = entry.role == "assistant" and not entry.tool_calls
        outbox = answers.get(entry.turn_id or "") if is_answer else replies.get(entry.id)
        bubbles.append(
            Bubble(
                id=entry.id,
                role=entry.role,
                text=entry.content,
                at=entry.created_at,
                author=entry.name or (person if entry.role == "user" else ""),
                forwarded_from=entry.forwarded_from,
                payload=entry.payload,
                quote=quote_view(entry.quoted),
                calls=tuple(
                    call_view(by_call[(entry.turn_id or "", id)])
                    for id in call_ids(entry.tool_calls)
                    if (entry.turn_id or "", id) in by_call
                ),
                note=entry.note,
                delivery=states[outbox.id] if outbox else "",
                outbox_id=outbox.id if outbox else "",
                tokens=entry.completion_tokens,
            )
        )
    shown = {bubble.outbox_id for bubble in bubbles}
    bubbles += [
        Bubble(
            id=o.id,
            role="error" if o.kind == "error" else "notice",
            text=o.text,
            at=o.created_at,
            delivery=states[o.id],
            outbox_id=o.id,
        )
        for o in sent
        if o.kind in ("notice", "error") and o.id not in shown
    ]
    # Sorting is stable: entries of one transaction keep the transcript's order.
    return Shown(tuple(sorted(bubbles, key=lambda b: b.at)), earlier or 0, first)


async def delivery_states(session: AsyncSession, sent: Sequence[models.Outbox]) -> dict[str, str]:
    """The state of each logical message by its id, as the deliveries pages show it."""
    parts = await parts_of(session, [outbox.id for outbox in sent])
    return {outbox.id: state_of(outbox, parts.get(outbox.id, [])) for outbox in sent}


async def waiting_count(session: AsyncSession, id: str) -> int:
    """How many messages came in and are not yet part of a turn."""
    return await session.scalar(select(func.count()).where(*_waits(id))) or 0


async def waiting_of(session: AsyncSession, id: str) -> tuple[Bubble, ...]:
    """Messages that came in and are not yet part of a turn."""
    rows = await session.scalars(
        select(models.Inbox)
        .where(*_waits(id))
        .order_by(models.Inbox.sequence)
        .limit(WAITING_SHOWN_MAX)
    )
    return tuple(
        Bubble(
            id=r.id,
            role="user",
            text=r.text,
            at=r.received_at,
            author=str(r.sender.get("display_name", "")),
            forwarded_from=r.forwarded_from,
            payload=r.payload,
            quote=quote_view(r.quote),
            waits=r.state,
        )
        for r in rows
    )


def _waits(id: str) -> tuple[ColumnElement[bool], ...]:
    return models.Inbox.conversation_id == id, models.Inbox.state.in_(("pending", "held"))


def call_view(call: models.ToolCall) -> CallView:
    """A tool call as its card shows it."""
    ended = call.finished_at is not None and call.started_at is not None
    return CallView(
        call_id=call.call_id,
        name=call.name,
        arguments=call.arguments,
        effect=call.effect,
        state=call.state,
        attempts=call.attempts,
        result=call.result,
        duration_s=(call.finished_at or 0) - (call.started_at or 0) if ended else None,
        error=call.error,
    )


def call_ids(stored: Sequence[Any]) -> list[str]:
    """The call ids of a stored assistant message, in either format of storage."""
    return [
        str(c.get("id") or c.get("call_id")) if isinstance(c, dict) else str(c[0]) for c in stored
    ]


def quote_view(stored: Mapping[str, Any] | None) -> QuoteView | None:
    """A stored quote as the page shows it; None without one."""
    if not stored:
        return None
    return QuoteView(
        author=str(stored.get("author", "other")),
        excerpt=str(stored.get("excerpt") or stored.get("text") or ""),
        resolved=bool(stored.get("resolved", True)),
    )
