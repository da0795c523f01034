"""What turns wait for: people, other agents, a time."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models

NAMES_SHOWN_MAX: Final = 2
OPERATOR: Final = "an operator"
SOMEBODY_ELSE: Final = "somebody else"
PERSON: Final = "the person"
TIME: Final = "a time"


@dataclass(frozen=True, slots=True)
class WaitView:
    """One wait of a turn.

    kind: approval | question | child | sleep. whom: who or what ends it, in words. subject: the
    tool, the question or the task. until: when it ends at the latest; None where it has no end.
    href: the page about it, empty for none.
    """

    kind: str
    whom: str
    subject: str
    since: float
    until: float | None
    href: str = ""


async def waits_of(
    session: AsyncSession, turns: Sequence[models.Turn]
) -> Mapping[str, tuple[WaitView, ...]]:
    """What each of these turns waits for, by turn; people first."""
    found: dict[str, list[WaitView]] = defaultdict(list)
    since = {turn.id: turn.waiting_since or turn.started_at for turn in turns}
    for turn_id, wait in [
        *await _people(session, list(since)),
        *await _agents(session, list(since)),
        *await _sleeps(session, since),
    ]:
        found[turn_id].append(wait)
    return {turn_id: tuple(waits) for turn_id, waits in found.items()}


def whom(waits: Sequence[WaitView]) -> str:
    """Who or what is waited for: `Ana`, `Ana and an operator`, `Ana, an operator and 2 more`."""
    names = list(dict.fromkeys(wait.whom for wait in waits))
    shown, more = names[:NAMES_SHOWN_MAX], len(names) - NAMES_SHOWN_MAX
    if more > 0:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join(shown)


async def _people(session: AsyncSession, turn_ids: Sequence[str]) -> list[tuple[str, WaitView]]:
    rows = await session.execute(
        select(models.Approval, models.Identity.display_name)
        .outerjoin(models.Identity, models.Identity.id == models.Approval.requester_id)
        .where(models.Approval.turn_id.in_(turn_ids), models.Approval.state == "pending")
        .order_by(models.Approval.created_at, models.Approval.id)
    )
    return [
        (
            one.turn_id,
            WaitView(
                kind="approval" if one.kind == "approve" else "question",
                whom={"operator": OPERATOR, "another": SOMEBODY_ELSE}.get(one.rule, name or PERSON),
                subject=one.tool or "; ".join(q["text"] for q in one.questions) or one.preview,
                since=one.created_at,
                until=one.expires_at,
                href=f"/approvals/{one.id}",
            ),
        )
        for one, name in rows.all()
    ]


async def _agents(session: AsyncSession, turn_ids: Sequence[str]) -> list[tuple[str, WaitView]]:
    tasks = await session.scalars(
        select(models.ChildTask)
        .where(
            models.ChildTask.parent_turn_id.in_(turn_ids),
            models.ChildTask.state == "running",
            models.ChildTask.is_waited,
        )
        .order_by(models.ChildTask.created_at, models.ChildTask.conversation_id)
    )
    return [
        (
            task.parent_turn_id,
            WaitView(
                kind="child",
                whom=f"the agent {task.agent}",
                subject=task.task,
                since=task.created_at,
                until=None,
                href=f"/sessions/{task.conversation_id}",
            ),
        )
        for task in tasks
    ]


async def _sleeps(session: AsyncSession, since: Mapping[str, float]) -> list[tuple[str, WaitView]]:
    calls = await session.scalars(
        select(models.ToolCall)
        .where(
            models.ToolCall.turn_id.in_(since),
            models.ToolCall.state == "waiting",
            models.ToolCall.wait == "sleep",
        )
        .order_by(models.ToolCall.due_at, models.ToolCall.call_id)
    )
    return [
        (call.turn_id, WaitView("sleep", TIME, call.name, since[call.turn_id], call.due_at))
        for call in calls
    ]
