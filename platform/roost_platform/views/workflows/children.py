"""Agents that work for a conversation, with what each of them does now."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import case, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.views.states import ConversationState, states_of

SHOWN_MAX: Final = 30
WORKING: Final = "running"  # of child_tasks


@dataclass(frozen=True, slots=True)
class ChildView:
    """One agent that works, or has worked, for a conversation.

    state: of its conversation while it works; else how it ended: done | failed | stopped.
    depth: 1 for those that the conversation itself gave a task. is_waited: the turn waits for it.
    """

    id: str
    agent: str
    task: str
    depth: int
    state: ConversationState
    is_working: bool
    is_waited: bool
    created_at: float
    finished_at: float | None
    reason: str


async def children_of(session: AsyncSession, conversation_id: str) -> tuple[ChildView, ...]:
    """The agents below a conversation, those at work first, then the newest."""
    rows = (
        await session.execute(
            select(models.ChildTask, models.Conversation)
            .join(models.Conversation, models.Conversation.id == models.ChildTask.conversation_id)
            .where(
                or_(
                    models.ChildTask.root_id == conversation_id,
                    models.ChildTask.parent_id == conversation_id,
                )
            )
            .order_by(
                case((models.ChildTask.state == WORKING, 0), else_=1),
                models.ChildTask.created_at.desc(),
                models.ChildTask.conversation_id,
            )
            .limit(SHOWN_MAX)
        )
    ).all()
    working = [conversation for task, conversation in rows if task.state == WORKING]
    states = await states_of(session, working)
    return tuple(
        ChildView(
            id=task.conversation_id,
            agent=task.agent,
            task=task.task,
            depth=conversation.depth,
            state=states.get(task.conversation_id) or ConversationState(task.state),
            is_working=task.state == WORKING,
            is_waited=task.is_waited,
            created_at=task.created_at,
            finished_at=task.finished_at,
            reason=task.reason,
        )
        for task, conversation in rows
    )
