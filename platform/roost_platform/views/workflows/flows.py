"""Flows as operators see them: the list, and one with its journal as a timeline."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost.flows.journal import step_words
from roost_platform.db import models
from roost_platform.db.turns.flow_entries import count_steps
from roost_platform.views.pagination import PAGE_SIZE
from roost_workflows.ports import CALL_ENDED
from roost_workflows.turn.endings import APOLOGIES

STATES: Final = ("running", "waiting", "done", "stopped", "failed")
TEXT_CHARS_MAX: Final = 2000  # of one argument text or result
ENTRIES_MAX: Final = 1000
HIDDEN: Final = "…"


@dataclass(frozen=True, slots=True)
class FlowFilter:
    """Which flows to list: by state and by the flow's name, empty for all."""

    state: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class FlowRow:
    """One flow in the list. id: of its turn. steps: entries of its journal, of which `ended` have
    ended; waits_for: what it waits for now, WaitKinds, each once.
    """

    id: str
    name: str
    state: str
    reason: str
    conversation_id: str
    key: str
    steps: int
    ended: int
    waits_for: tuple[str, ...]
    created_at: float
    finished_at: float | None


@dataclass(frozen=True, slots=True)
class FlowEntry:
    """One step on the timeline.

    number: from 1, in the order in which the steps were asked for. level: how many gathers it
    stands in; branch: of the innermost one, from 0, None outside. words: `ask('Which day?')`.
    start, length: percent of the flow's time so far. attempts: over 1 where it was tried again.
    approval_id: of the question that it asks. child_id: the conversation of the agent that works
    for it. due_at: the end of a sleep.
    """

    number: int
    path: str
    op: str
    name: str
    words: str
    level: int
    branch: int | None
    state: str
    wait: str
    arguments: str
    result: str
    error: str
    attempts: int
    started_at: float | None
    finished_at: float | None
    duration_s: float | None
    due_at: float | None
    start: float
    length: float
    approval_id: str = ""
    approval_state: str = ""
    child_id: str = ""
    child_state: str = ""


@dataclass(frozen=True, slots=True)
class FlowView:
    """One flow. answer: its text, empty before. ending: how it failed, in words for people.

    error: a trace or the named step, for operators. input: as JSON text.
    """

    row: FlowRow
    input: str
    answer: str
    ending: str
    error: str
    code_hash: str
    advances: int
    started_by: str
    waited_s: float
    entries: tuple[FlowEntry, ...]


async def flows(
    session: AsyncSession, wanted: FlowFilter, page: int
) -> tuple[int, tuple[FlowRow, ...]]:
    """How many flows match, and one page of them, newest first."""
    statement: Select[models.FlowRun, models.Turn, models.Conversation] = (
        select(models.FlowRun, models.Turn, models.Conversation)
        .join(models.Turn, models.Turn.id == models.FlowRun.turn_id)
        .join(models.Conversation, models.Conversation.id == models.Turn.conversation_id)
    )
    if wanted.state:
        statement = statement.where(models.Turn.state == wanted.state)
    if wanted.name:
        statement = statement.where(models.FlowRun.name == wanted.name)
    counted = statement.with_only_columns(models.FlowRun.turn_id).subquery()
    total = await session.scalar(select(func.count()).select_from(counted)) or 0
    rows = await session.execute(
        statement.order_by(models.FlowRun.created_at.desc(), models.FlowRun.turn_id)
        .limit(PAGE_SIZE)
        .offset((page - 1) * PAGE_SIZE)
    )
    found = rows.all()
    counts = await count_steps(session, [flow.turn_id for flow, _, _ in found])
    return total, tuple(
        _row(flow, turn, conversation, counts.get(flow.turn_id, {}))
        for flow, turn, conversation in found
    )


async def flow_id(session: AsyncSession, given: str) -> str | None:
    """The turn's id of a flow, by itself or by the message that began it; None before it began."""
    found: str | None = await session.scalar(
        select(models.FlowRun.turn_id)
        .outerjoin(models.Inbox, models.Inbox.turn_id == models.FlowRun.turn_id)
        .where(or_(models.FlowRun.turn_id == given, models.Inbox.id == given))
        .limit(1)
    )
    return found


async def queued_flow(
    session: AsyncSession, inbox_id: str, names: Collection[str]
) -> FlowRow | None:
    """A flow that has not begun, by the message that starts it. names: of the flows."""
    found = (
        await session.execute(
            select(models.Inbox, models.Conversation)
            .join(models.Conversation, models.Conversation.id == models.Inbox.conversation_id)
            .where(models.Inbox.id == inbox_id, models.Conversation.agent.in_(names))
        )
    ).first()
    if found is None:
        return None
    row, conversation = found
    state = "queued" if row.state in ("pending", "taken") else row.state
    return FlowRow(
        id=row.id,
        name=conversation.agent,
        state=state,
        reason=row.reason_code,
        conversation_id=conversation.id,
        key=conversation.key,
        steps=0,
        ended=0,
        waits_for=(),
        created_at=row.received_at,
        finished_at=None,
    )


async def flow_view(
    session: AsyncSession, turn_id: str, now: float, *, with_texts: bool = True
) -> FlowView | None:
    """One flow with its journal; None where the turn is none.

    with_texts: with what was said, asked and returned; else these are hidden.
    """
    found = (
        await session.execute(
            select(models.FlowRun, models.Turn, models.Conversation)
            .join(models.Turn, models.Turn.id == models.FlowRun.turn_id)
            .join(models.Conversation, models.Conversation.id == models.Turn.conversation_id)
            .where(models.FlowRun.turn_id == turn_id)
        )
    ).first()
    if found is None:
        return None
    flow, turn, conversation = found
    counts = await count_steps(session, [turn_id])
    end = turn.finished_at if turn.finished_at is not None else now
    entries = await _entries(session, turn_id, flow.created_at, end, with_texts=with_texts)
    is_failed = turn.state == "failed"
    return FlowView(
        row=_row(flow, turn, conversation, counts.get(turn_id, {})),
        input=json.dumps(flow.input, ensure_ascii=False) if with_texts else HIDDEN,
        answer=flow.result if with_texts else "",
        ending=APOLOGIES.get(turn.reason_code, APOLOGIES["internal"]) if is_failed else "",
        error=turn.error if with_texts else "",
        code_hash=flow.code_hash,
        advances=flow.advances,
        started_by=flow.started_by,
        waited_s=turn.waited_s,
        entries=entries,
    )


async def _entries(
    session: AsyncSession, turn_id: str, began: float, end: float, *, with_texts: bool
) -> tuple[FlowEntry, ...]:
    calls = (
        await session.scalars(
            select(models.ToolCall)
            .where(models.ToolCall.turn_id == turn_id, models.ToolCall.op != "")
            .order_by(models.ToolCall.step)
            .limit(ENTRIES_MAX)
        )
    ).all()
    asked: dict[tuple[int, str], models.Approval] = {
        (one.step, one.call_id): one
        for one in await session.scalars(
            select(models.Approval)
            .where(models.Approval.turn_id == turn_id)
            .order_by(models.Approval.round)
        )
    }
    children: dict[tuple[int, str], models.ChildTask] = {
        (one.parent_step, one.parent_call_id): one
        for one in await session.scalars(
            select(models.ChildTask).where(models.ChildTask.parent_turn_id == turn_id)
        )
    }
    return tuple(
        _entry(
            call,
            asked.get((call.step, call.call_id)),
            children.get((call.step, call.call_id)),
            (began, end),
            with_texts=with_texts,
        )
        for call in calls
    )


def _entry(
    call: models.ToolCall,
    approval: models.Approval | None,
    child: models.ChildTask | None,
    span: tuple[float, float],
    *,
    with_texts: bool,
) -> FlowEntry:
    began, end = span
    branches = call.call_id.split("/")[1::2]
    is_said = call.op in ("ask", "approve", "generate")
    name = HIDDEN if is_said and not with_texts else call.name
    # What waits for people has not begun as work: its question has.
    started = call.started_at
    if started is None and approval is not None:
        started = approval.created_at
    stopped = call.finished_at
    length_s = max(end - began, 1e-9)
    at = began if started is None else started
    until = stopped if stopped is not None else at if call.state == "planned" else end
    return FlowEntry(
        number=call.step,
        path=call.call_id,
        op=call.op,
        name=name,
        words=step_words(call.op, name),
        level=len(branches),
        branch=int(branches[-1]) if branches else None,
        state=call.state,
        wait=call.wait if call.state not in CALL_ENDED else "",
        arguments=_cut(call.arguments) if with_texts else HIDDEN,
        result=_cut(call.result) if with_texts else HIDDEN if call.result else "",
        error=call.error if with_texts else "",
        attempts=call.attempts,
        started_at=started,
        finished_at=stopped,
        duration_s=None if started is None or stopped is None else max(stopped - started, 0.0),
        due_at=call.due_at,
        start=_percent(at - began, length_s),
        length=_percent(until - at, length_s),
        approval_id="" if approval is None else approval.id,
        approval_state="" if approval is None else approval.state,
        child_id="" if child is None else child.conversation_id,
        child_state="" if child is None else child.state,
    )


def _row(
    flow: models.FlowRun,
    turn: models.Turn,
    conversation: models.Conversation,
    counts: Mapping[tuple[str, str], int],
) -> FlowRow:
    waits = sorted({wait for state, wait in counts if state == "waiting" and wait})
    return FlowRow(
        id=flow.turn_id,
        name=flow.name,
        state=turn.state,
        reason=turn.reason_code,
        conversation_id=conversation.id,
        key=conversation.key,
        steps=sum(counts.values()),
        ended=sum(count for (state, _), count in counts.items() if state in CALL_ENDED),
        waits_for=tuple(waits),
        created_at=flow.created_at,
        finished_at=turn.finished_at,
    )


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARS_MAX else f"{text[:TEXT_CHARS_MAX]}{HIDDEN}"


def _percent(seconds: float, of_s: float) -> float:
    return round(min(max(seconds / of_s, 0.0), 1.0) * 100, 2)
