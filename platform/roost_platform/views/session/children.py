"""The agents that work, or have worked, for a chat: a tree with states, tokens and times."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.turns.children.spawning import short
from roost_platform.views.sessions import hidden

CHILDREN_SHOWN_MAX = 200  # of one chat, the newest


@dataclass(frozen=True, slots=True)
class ChildView:
    """One agent that was given a task.

    id: its conversation, which `request_stop` stops alone. name: what chats call it.
    parent_turn_id, parent_step, parent_call_id: the call that gave the task; depth: 1 for a child
    of the chat. state: queued | running | waiting | done | failed | stopped. reason: its code.
    tokens: read and written; steps: model calls. duration_s: from the start to the end, or to now.
    task, result: hidden from those who may not read texts.
    """

    id: str
    name: str
    agent: str
    parent_turn_id: str
    parent_step: int
    parent_call_id: str
    depth: int
    task: str
    context: str
    is_waited: bool
    state: str
    reason: str
    result: str
    schema_valid: bool | None
    turn_id: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    steps: int
    created_at: float
    duration_s: float
    children: tuple["ChildView", ...] = ()

    @property
    def is_live(self) -> bool:
        """Whether it can be stopped."""
        return self.state in ("queued", "running", "waiting")


async def children_of(
    session: AsyncSession,
    conversation_id: str,
    now: float,
    *,
    turn_id: str | None = None,
    with_texts: bool,
) -> tuple[ChildView, ...]:
    """The agents that a conversation gave tasks to, oldest first, each with those below it.

    turn_id: of this turn alone.
    """
    conversation = await session.get(models.Conversation, conversation_id)
    if conversation is None:
        return ()
    rows = await session.execute(
        select(models.ChildTask, models.Turn, models.Conversation.depth)
        .join(models.Conversation, models.Conversation.id == models.ChildTask.conversation_id)
        .outerjoin(models.Turn, models.Turn.conversation_id == models.ChildTask.conversation_id)
        .where(models.ChildTask.root_id == (conversation.root_id or conversation.id))
        .order_by(models.ChildTask.created_at.desc(), models.ChildTask.conversation_id.desc())
        .limit(CHILDREN_SHOWN_MAX)
    )
    found = [(task, turn, int(depth)) for task, turn, depth in rows.all()][::-1]
    used = await _used(session, [turn.id for _, turn, _ in found if turn is not None])
    below: dict[str, list[tuple[models.ChildTask, models.Turn | None, int]]] = defaultdict(list)
    for task, turn, depth in found:
        below[task.parent_id].append((task, turn, depth))

    def views(parent_id: str) -> tuple[ChildView, ...]:
        return tuple(
            _view(*row, used, now, views(row[0].conversation_id), with_texts=with_texts)
            for row in below.get(parent_id, ())
            if parent_id != conversation_id or turn_id in (None, row[0].parent_turn_id)
        )

    return views(conversation_id)


async def parent_of(session: AsyncSession, conversation_id: str) -> str | None:
    """The conversation for which this one works; None for a chat."""
    task = await session.get(models.ChildTask, conversation_id)
    return None if task is None else task.parent_id


async def _used(
    session: AsyncSession, turn_ids: Sequence[str]
) -> dict[str, tuple[int, int, int, int]]:
    """Prompt, cached and generated tokens and the number of model calls, by turn."""
    steps = models.TurnStep
    rows = await session.execute(
        select(
            steps.turn_id,
            func.sum(steps.prompt_tokens),
            func.sum(steps.cached_tokens),
            func.sum(steps.completion_tokens),
            func.count(),
        )
        .where(steps.turn_id.in_(turn_ids))
        .group_by(steps.turn_id)
    )
    return {id: (int(p or 0), int(c or 0), int(g or 0), int(n)) for id, p, c, g, n in rows}


def _view(
    task: models.ChildTask,
    turn: models.Turn | None,
    depth: int,
    used: dict[str, tuple[int, int, int, int]],
    now: float,
    children: tuple[ChildView, ...],
    *,
    with_texts: bool,
) -> ChildView:
    state = task.state
    if state == "running":
        state = "queued" if turn is None else turn.state
    prompt, cached, generated, steps = used.get(turn.id if turn else "", (0, 0, 0, 0))
    return ChildView(
        id=task.conversation_id,
        name=f"{task.agent} {short(task.conversation_id)}",
        agent=task.agent,
        parent_turn_id=task.parent_turn_id,
        parent_step=task.parent_step,
        parent_call_id=task.parent_call_id,
        depth=depth,
        task=task.task if with_texts else hidden(task.task),
        context=task.context,
        is_waited=task.is_waited,
        state=state,
        reason=task.reason,
        result=task.result if with_texts else hidden(task.result),
        schema_valid=task.schema_valid,
        turn_id="" if turn is None else turn.id,
        prompt_tokens=prompt,
        cached_tokens=cached,
        completion_tokens=generated,
        steps=steps,
        created_at=task.created_at,
        duration_s=max((task.finished_at or now) - task.created_at, 0.0),
        children=children,
    )
