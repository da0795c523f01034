"""One conversation as its page shows it: transcript, tool calls, turns with their spans, what runs now."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.console.queries.sessions import display_title, hidden
from roost_platform.console.queries.spans import TurnView, turn_view
from roost_platform.db import models

MESSAGES_SHOWN_MAX = 200
TURNS_SHOWN_MAX = 30
WAITING_SHOWN_MAX = 20


@dataclass(frozen=True, slots=True)
class QuoteView:
    """A quoted passage: who said it and what."""

    author: str
    excerpt: str
    resolved: bool


@dataclass(frozen=True, slots=True)
class CallView:
    """One tool call. arguments is JSON text; duration_s None while it has not ended."""

    call_id: str
    name: str
    arguments: str
    effect: str
    state: str
    attempts: int
    result: str
    duration_s: float | None


@dataclass(frozen=True, slots=True)
class Bubble:
    """One thing in the transcript. role: user | assistant | operator | notice | error.

    delivery: state of the logical message it became (pending, sent, delivered, read, failed, uncertain), or empty.
    """

    id: str
    role: str
    text: str
    at: float
    author: str = ""
    quote: QuoteView | None = None
    calls: tuple[CallView, ...] = ()
    note: str = ""
    delivery: str = ""
    outbox_id: str = ""
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Running:
    """The turn that is being answered now, with its partial text."""

    turn_id: str
    number: int
    phase: str
    text: str
    started_at: float
    stop_requested: bool
    calls: tuple[CallView, ...]


@dataclass(frozen=True, slots=True)
class ConversationView:
    """Everything on the session page."""

    id: str
    key: str
    channel: str
    title: str
    agent: str
    identity_id: str | None
    access: str
    session_id: str
    session_number: int
    session_count: int
    is_current: bool
    created_at: float
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    bubbles: tuple[Bubble, ...]
    earlier: int
    waiting: tuple[Bubble, ...]
    running: Running | None
    turns: tuple[TurnView, ...]
    turn_count: int


async def conversation_id_of_key(session: AsyncSession, key: str) -> str | None:
    """The conversation with this session key."""
    return await session.scalar(
        select(models.Conversation.id).where(models.Conversation.key == key)
    )


async def conversation(
    session: AsyncSession, id: str, number: int | None, *, with_texts: bool
) -> ConversationView | None:
    """The page's data for session `number` of a conversation, the current one for None."""
    found = (
        await session.execute(
            select(models.Conversation, models.Identity)
            .outerjoin(models.Identity, models.Identity.id == models.Conversation.identity_id)
            .where(models.Conversation.id == id)
        )
    ).first()
    if found is None:
        return None
    row, identity = found
    chosen = await session.scalar(
        select(models.Session).where(
            models.Session.conversation_id == id,
            models.Session.number == number
            if number is not None
            else models.Session.id == row.session_id,
        )
    )
    if number is not None and chosen is None:
        return None
    session_id = chosen.id if chosen else ""
    is_current = chosen is None or session_id == row.session_id
    turns = (
        await session.scalars(
            select(models.Turn)
            .where(models.Turn.session_id == session_id)
            .order_by(models.Turn.number.desc())
            .limit(TURNS_SHOWN_MAX)
        )
    ).all()
    calls = await calls_of(session, session_id)
    steps = await steps_of(session, [turn.id for turn in turns])
    sends = await sends_of(session, [turn.id for turn in turns])
    views = tuple(turn_view(t, steps[t.id], calls[t.id], sends[t.id]) for t in turns)
    totals = await totals_of(session, session_id)
    bubbles, earlier = await bubbles_of(session, row, chosen, identity, calls)
    view = ConversationView(
        id=id,
        key=row.key,
        channel=row.channel,
        title=display_title(row, identity.display_name if identity else None),
        agent=chosen.agent if chosen else row.agent,
        identity_id=row.identity_id,
        access=identity.access if identity else "",
        session_id=session_id,
        session_number=chosen.number if chosen else 1,
        session_count=await session.scalar(
            select(func.count()).where(models.Session.conversation_id == id)
        )
        or 0,
        is_current=is_current,
        created_at=chosen.created_at if chosen else row.created_at,
        prompt_tokens=totals[0],
        cached_tokens=totals[1],
        completion_tokens=totals[2],
        bubbles=bubbles,
        earlier=earlier,
        waiting=await waiting_of(session, id) if is_current else (),
        running=await running_of(session, turns, steps, calls),
        turns=views,
        turn_count=row.turn_count,
    )
    return view if with_texts else without_texts(view)


async def calls_of(session: AsyncSession, session_id: str) -> Mapping[str, list[models.ToolCall]]:
    """Tool calls of a session by turn, in order."""
    found: dict[str, list[models.ToolCall]] = defaultdict(list)
    for call in await session.scalars(
        select(models.ToolCall)
        .join(models.Turn, models.Turn.id == models.ToolCall.turn_id)
        .where(models.Turn.session_id == session_id)
        .order_by(models.ToolCall.step, models.ToolCall.position)
    ):
        found[call.turn_id].append(call)
    return found


async def steps_of(
    session: AsyncSession, turn_ids: Sequence[str]
) -> Mapping[str, list[models.TurnStep]]:
    found: dict[str, list[models.TurnStep]] = defaultdict(list)
    for step in await session.scalars(
        select(models.TurnStep)
        .where(models.TurnStep.turn_id.in_(turn_ids))
        .order_by(models.TurnStep.step)
    ):
        found[step.turn_id].append(step)
    return found


async def sends_of(
    session: AsyncSession, turn_ids: Sequence[str]
) -> Mapping[str, list[models.Part]]:
    """The parts a turn's logical messages became, by turn."""
    found: dict[str, list[models.Part]] = defaultdict(list)
    rows = await session.execute(
        select(models.Outbox.turn_id, models.Part)
        .join(models.Part, models.Part.outbox_id == models.Outbox.id)
        .where(models.Outbox.turn_id.in_(turn_ids))
        .order_by(models.Outbox.sequence, models.Part.position)
    )
    for turn_id, part in rows:
        found[turn_id or ""].append(part)
    return found


async def totals_of(session: AsyncSession, session_id: str) -> tuple[int, int, int]:
    """Prompt, cached and generated tokens of a session."""
    steps = models.TurnStep
    row = (
        await session.execute(
            select(
                func.sum(steps.prompt_tokens),
                func.sum(steps.cached_tokens),
                func.sum(steps.completion_tokens),
            )
            .join(models.Turn, models.Turn.id == steps.turn_id)
            .where(models.Turn.session_id == session_id)
        )
    ).one()
    return int(row[0] or 0), int(row[1] or 0), int(row[2] or 0)


async def bubbles_of(
    session: AsyncSession,
    row: models.Conversation,
    chosen: models.Session | None,
    identity: models.Identity | None,
    calls: Mapping[str, list[models.ToolCall]],
) -> tuple[tuple[Bubble, ...], int]:
    """The newest messages in order with notices between them, and how many are not shown."""
    if chosen is None:
        return (), 0
    entries = (
        await session.scalars(
            select(models.Transcript)
            .where(models.Transcript.session_id == chosen.id, models.Transcript.role != "tool")
            .order_by(models.Transcript.position.desc())
            .limit(MESSAGES_SHOWN_MAX)
        )
    ).all()[::-1]
    total = await session.scalar(
        select(func.count()).where(
            models.Transcript.session_id == chosen.id, models.Transcript.role != "tool"
        )
    )
    since = entries[0].created_at if len(entries) == MESSAGES_SHOWN_MAX else chosen.created_at
    sent = (
        await session.scalars(
            select(models.Outbox)
            .where(
                models.Outbox.conversation_id == row.id,
                models.Outbox.created_at >= since,
                models.Outbox.created_at <= (chosen.closed_at or float("inf")),
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
                quote=quote_view(entry.quoted),
                calls=tuple(
                    call_view(by_call[(entry.turn_id or "", id)])
                    for id in call_ids(entry.tool_calls)
                    if (entry.turn_id or "", id) in by_call
                ),
                note=entry.note,
                delivery=states.get(outbox.id, outbox.state) if outbox else "",
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
            delivery=states.get(o.id, o.state),
            outbox_id=o.id,
        )
        for o in sent
        if o.kind in ("notice", "error") and o.id not in shown
    ]
    # Sorting is stable: entries of one transaction keep the transcript's order.
    return tuple(sorted(bubbles, key=lambda b: b.at)), max(0, (total or 0) - len(entries))


async def delivery_states(session: AsyncSession, sent: Sequence[models.Outbox]) -> dict[str, str]:
    """How each logical message fared, from its worst part: failed, uncertain, pending, sent, delivered, read."""
    order = ("failed", "expired", "ambiguous", "sending", "planned", "not_sent")
    receipts = {"read": 3, "delivered": 2, "sent": 1, "": 0}
    parts: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for id, state, receipt in await session.execute(
        select(models.Part.outbox_id, models.Part.state, models.Part.receipt).where(
            models.Part.outbox_id.in_([o.id for o in sent])
        )
    ):
        parts[id].append((state, receipt))
    found = {}
    for id, states in parts.items():
        worst = next((s for s in order if any(state == s for state, _ in states)), "sent")
        if worst == "sent":
            least = min((receipts.get(r, 0), r) for _, r in states)[1]
            found[id] = least if least in ("delivered", "read") else "sent"
        else:
            names = {"ambiguous": "uncertain", "expired": "failed"}
            found[id] = names.get(worst, "pending" if worst not in ("failed",) else "failed")
    return found


async def waiting_of(session: AsyncSession, id: str) -> tuple[Bubble, ...]:
    """Messages that came in and are not taken into a turn yet."""
    rows = await session.scalars(
        select(models.Inbox)
        .where(models.Inbox.conversation_id == id, models.Inbox.state.in_(("pending", "held")))
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
            quote=quote_view(r.quote),
            note=r.state,
        )
        for r in rows
    )


async def running_of(
    session: AsyncSession,
    turns: Sequence[models.Turn],
    steps: Mapping[str, list[models.TurnStep]],
    calls: Mapping[str, list[models.ToolCall]],
) -> Running | None:
    """The running turn: its partial text, and the calls of a group that is not closed yet."""
    turn = next((t for t in turns if t.state == "running"), None)
    if turn is None:
        return None
    progress = await session.get(models.RunProgress, turn.id)
    open_steps = {step.step for step in steps.get(turn.id, ()) if step.state == "open"}
    return Running(
        turn_id=turn.id,
        number=turn.number,
        phase=progress.phase if progress else "queued",
        text=progress.text if progress else "",
        started_at=turn.started_at,
        stop_requested=turn.stop_requested_at is not None,
        calls=tuple(call_view(c) for c in calls.get(turn.id, ()) if c.step in open_steps),
    )


def call_view(call: models.ToolCall) -> CallView:
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
    )


def call_ids(stored: Sequence[Any]) -> list[str]:
    """The call ids of a stored assistant message, whichever way they are written."""
    return [
        str(c.get("id") or c.get("call_id")) if isinstance(c, dict) else str(c[0]) for c in stored
    ]


def quote_view(stored: Mapping[str, Any] | None) -> QuoteView | None:
    if not stored:
        return None
    return QuoteView(
        author=str(stored.get("author", "other")),
        excerpt=str(stored.get("excerpt") or stored.get("text") or ""),
        resolved=bool(stored.get("resolved", True)),
    )


def without_texts(view: ConversationView) -> ConversationView:
    """The same page for someone without leave to read texts: sizes instead of contents."""

    def call(c: CallView) -> CallView:
        return replace(c, arguments=hidden(c.arguments), result=hidden(c.result))

    def bubble(b: Bubble) -> Bubble:
        quote = replace(b.quote, excerpt=hidden(b.quote.excerpt)) if b.quote else None
        return replace(b, text=hidden(b.text), quote=quote, calls=tuple(call(c) for c in b.calls))

    running = view.running
    if running is not None:
        calls = tuple(call(c) for c in running.calls)
        running = replace(running, text=hidden(running.text), calls=calls)
    return replace(
        view,
        bubbles=tuple(bubble(b) for b in view.bubbles),
        waiting=tuple(bubble(b) for b in view.waiting),
        running=running,
    )
