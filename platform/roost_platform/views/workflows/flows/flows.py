"""Flows as operators see them: the list, and one with its journal as a timeline."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.turns.flow_entries import count_steps
from roost_platform.views.pagination import PAGE_SIZE
from roost_platform.views.workflows.flows.journal import HIDDEN, FlowEntry, journal_entries
from roost_workflows.ports import CALL_ENDED
from roost_workflows.turn.endings import APOLOGIES

FORKS_MAX: Final = 20  # shown of one run
STATES: Final = ("running", "waiting", "done", "stopped", "failed")


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
class FlowView:
    """One flow. answer: its text, empty before. ending: how it failed, in words for people.

    error: a trace or the named step, for operators. input: as JSON text. started_by: the person's
    name, empty where it is not known.
    forked_from: the run from which it took over its first `kept` steps, at its step `forked_at`;
    empty for others. forks: the runs that were forked from it, the newest first. retries: how often
    operators had it tried again. can_retry, can_fork: whether that may be asked for.
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
    forked_from: str = ""
    forked_at: int = 0
    kept: int = 0
    forks: tuple[str, ...] = ()
    retries: int = 0
    can_retry: bool = False
    can_fork: bool = False


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
            select(models.FlowRun, models.Turn, models.Conversation, models.Identity.display_name)
            .join(models.Turn, models.Turn.id == models.FlowRun.turn_id)
            .join(models.Conversation, models.Conversation.id == models.Turn.conversation_id)
            .outerjoin(models.Identity, models.Identity.id == models.FlowRun.started_by)
            .where(models.FlowRun.turn_id == turn_id)
        )
    ).first()
    if found is None:
        return None
    flow, turn, conversation, person_name = found
    counts = await count_steps(session, [turn_id])
    end = turn.finished_at if turn.finished_at is not None else now
    entries = await journal_entries(
        session, turn_id, flow.created_at, end, kept=flow.kept, with_texts=with_texts
    )
    forks = await session.scalars(
        select(models.FlowRun.turn_id)
        .where(models.FlowRun.forked_from == turn_id)
        .order_by(models.FlowRun.created_at.desc())
        .limit(FORKS_MAX)
    )
    is_failed = turn.state == "failed"
    is_chat = conversation.kind != "child"
    return FlowView(
        row=_row(flow, turn, conversation, counts.get(turn_id, {})),
        input=json.dumps(flow.input, ensure_ascii=False) if with_texts else HIDDEN,
        answer=flow.result if with_texts else "",
        ending=APOLOGIES.get(turn.reason_code, APOLOGIES["internal"]) if is_failed else "",
        error=turn.error if with_texts else "",
        code_hash=flow.code_hash,
        advances=flow.advances,
        started_by=person_name or "",
        waited_s=turn.waited_s,
        entries=entries,
        forked_from=flow.forked_from,
        forked_at=flow.forked_at,
        kept=flow.kept,
        forks=tuple(forks.all()),
        retries=turn.retries,
        can_retry=may_be_retried(turn, conversation)
        and not any(one.op == "compensate" and one.attempts for one in entries),
        can_fork=is_chat and turn.state in ("done", "failed") and turn.stop_requested_at is None,
    )


def may_be_retried(turn: models.Turn, conversation: models.Conversation) -> bool:
    """Whether it is worth offering to try the turn again; `retrying.retry` decides."""
    return (
        turn.state == "failed"
        and turn.stop_requested_at is None
        and conversation.kind != "child"
        and turn.number == conversation.turn_count
        and turn.session_id == conversation.session_id
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
