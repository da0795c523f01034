"""The journal of one flow as a timeline: each step with what it waits for and who works on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost.flows.journal import step_words
from roost_platform.db import models
from roost_workflows.ports import CALL_ENDED

TEXT_CHARS_MAX: Final = 2000  # of one argument text or result
ENTRIES_MAX: Final = 1000
HIDDEN: Final = "…"


@dataclass(frozen=True, slots=True)
class FlowEntry:
    """One step on the timeline.

    number: from 1, in the order in which the steps were asked for. level: how many gathers it
    stands in; branch: of the innermost one, from 0, None outside. words: `ask('Which day?')`.
    start, length: percent of the flow's time so far. attempts: over 1 where it was tried again.
    approval_id: of the question that it asks. child_id: the conversation of the agent that works
    for it. due_at: the end of a sleep. is_copied: an earlier run did it, and this one took its
    result over. manifest: of a model call, what the prompt was made of, by ids and hashes.
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
    is_copied: bool = False
    manifest: Mapping[str, Any] | None = None


async def journal_entries(
    session: AsyncSession,
    turn_id: str,
    began: float,
    end: float,
    *,
    kept: int = 0,
    with_texts: bool,
) -> tuple[FlowEntry, ...]:
    """The steps of a flow that began at `began`, in order; until `end` on its timeline.

    kept: how many it took over from an earlier run.
    """
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
    steps = await session.execute(
        select(models.TurnStep.step, models.TurnStep.manifest).where(
            models.TurnStep.turn_id == turn_id
        )
    )
    manifests: dict[int, dict[str, Any] | None] = {step: one for step, one in steps}
    return tuple(
        _entry(
            call,
            manifests.get(call.step) if call.op == "generate" else None,
            asked.get((call.step, call.call_id)),
            children.get((call.step, call.call_id)),
            (began, end),
            is_copied=call.step <= kept or _was_done_before(call),
            with_texts=with_texts,
        )
        for call in calls
    )


def _entry(
    call: models.ToolCall,
    manifest: Mapping[str, Any] | None,
    approval: models.Approval | None,
    child: models.ChildTask | None,
    span: tuple[float, float],
    *,
    is_copied: bool,
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
        is_copied=is_copied,
        manifest=manifest if with_texts else None,
    )


def _was_done_before(call: models.ToolCall) -> bool:
    """Whether a fork found that the earlier run had made this very call."""
    return call.op == "call" and call.state in ("ok", "unknown") and call.attempts == 0


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARS_MAX else f"{text[:TEXT_CHARS_MAX]}{HIDDEN}"


def _percent(seconds: float, of_s: float) -> float:
    return round(min(max(seconds / of_s, 0.0), 1.0) * 100, 2)
