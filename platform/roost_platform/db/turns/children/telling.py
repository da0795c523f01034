"""What people are told of the agents that work for their chat."""

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.turns.children.spawning import short
from roost_workflows.turn.endings import lasting

TASK_CHARS_MAX: Final = 60
LISTED_MAX: Final = 20
MARKS: Final[Mapping[str, str]] = {"done": "✓", "failed": "✗", "stopped": "✗"}
NO_TASKS: Final = "No other agent is at work for you here."
HOW_TO_STOP: Final = "/stop stops all of them."
_STATES: Final[Mapping[str, str]] = {
    "queued": "about to begin",
    "running": "at work",
    "waiting": "waiting",
}
# Every look at running turns runs it for each of them, so it is made once.
_CHILDREN = (
    select(models.ChildTask, models.Turn)
    .outerjoin(models.Turn, models.Turn.conversation_id == models.ChildTask.conversation_id)
    .where(models.ChildTask.parent_turn_id == bindparam("turn_id"))
    .order_by(models.ChildTask.created_at, models.ChildTask.conversation_id)
)


async def lines_of(session: AsyncSession, turn_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """A line for each agent that works, or has worked, for these turns: ✓ done, ▸ at work,
    · about to begin; children of children are indented.
    """
    lines: dict[str, tuple[str, ...]] = {}
    for turn_id in turn_ids:
        lines[turn_id] = tuple(await _lines(session, turn_id, ""))
    return lines


async def _lines(session: AsyncSession, turn_id: str, indent: str) -> list[str]:
    lines = []
    for task, turn in (await session.execute(_CHILDREN, {"turn_id": turn_id})).all():
        mark = MARKS.get(task.state) or ("·" if turn is None else "▸")
        lines.append(f"{indent}{mark} {task.agent}: {shortened(task.task)}")
        if turn is not None and task.state == "running":
            lines += await _lines(session, turn.id, f"{indent}  ")
    return lines


async def tasks_text(session: AsyncSession, conversation: models.Conversation, now: float) -> str:
    """The answer to /tasks: each agent that works for the chat, what it does, and for how long."""
    rows = await session.execute(
        select(models.ChildTask, models.Turn, models.Conversation.depth)
        .join(models.Conversation, models.Conversation.id == models.ChildTask.conversation_id)
        .outerjoin(models.Turn, models.Turn.conversation_id == models.ChildTask.conversation_id)
        .where(models.ChildTask.root_id == conversation.id, models.ChildTask.state == "running")
        .order_by(models.ChildTask.created_at, models.ChildTask.conversation_id)
        .limit(LISTED_MAX)
    )
    lines = []
    for task, turn, depth in rows.all():
        state = _STATES["queued" if turn is None else turn.state]
        if turn is not None and turn.stop_requested_at is not None:
            state = "stopping"
        age = lasting(now - task.created_at)
        what = f"{task.agent} {short(task.conversation_id)}: {shortened(task.task)}"
        lines.append(f"{'  ' * (depth - 1)}▸ {what} ({state}, {age})")
    return "\n".join([*lines, HOW_TO_STOP]) if lines else NO_TASKS


async def has_live(session: AsyncSession, root_id: str) -> bool:
    """Whether an agent works below a chat."""
    found = await session.scalar(
        select(models.ChildTask.conversation_id)
        .where(models.ChildTask.root_id == root_id, models.ChildTask.state == "running")
        .limit(1)
    )
    return found is not None


async def waits_for_agents(session: AsyncSession, turn_id: str) -> bool:
    """Whether a turn waits for an answer of agents that are at work."""
    found = await session.scalar(
        select(models.ChildTask.conversation_id)
        .where(
            models.ChildTask.parent_turn_id == turn_id,
            models.ChildTask.state == "running",
            models.ChildTask.is_waited,
        )
        .limit(1)
    )
    return found is not None


def shortened(text: str) -> str:
    """The beginning of a task, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= TASK_CHARS_MAX else f"{line[: TASK_CHARS_MAX - 1]}…"
