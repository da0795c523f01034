"""How many agents may work for one another, and what the trees above a conversation are."""

from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models

DEPTH_MAX: Final = 2  # a child's child gives no tasks
LIVE_OF_PARENT_MAX: Final = 5
# At work at once below one chat, and in all for one turn of it. Whose turn it is on the engine
# beyond that is for its scheduler: it serves tenants in rotation.
OF_ROOT_MAX: Final = 20

TOO_DEEP: Final = "Not started: an agent this far down can't give tasks to others. Do it yourself."
TOO_MANY: Final = (
    "Not started: {count} agents work for this conversation already. Wait for one of them."
)


async def refusal(session: AsyncSession, conversation: models.Conversation) -> str:
    """Why an agent of this conversation may start no other now, for the model; else empty."""
    if conversation.depth >= DEPTH_MAX:
        return TOO_DEEP
    task = models.ChildTask
    of_parent = await _live(session, task.parent_id == conversation.id)
    if of_parent >= LIVE_OF_PARENT_MAX:
        return TOO_MANY.format(count=of_parent)
    of_root = await _live(session, task.root_id == (conversation.root_id or conversation.id))
    return TOO_MANY.format(count=of_root) if of_root >= OF_ROOT_MAX else ""


async def root_of(session: AsyncSession, conversation: models.Conversation) -> models.Conversation:
    """The chat at the top of the conversation's tree."""
    if conversation.root_id is None:
        return conversation
    return await session.get_one(models.Conversation, conversation.root_id)


async def root_turn_id(session: AsyncSession, turn: models.Turn) -> str:
    """The turn of the chat at the top for which this turn works."""
    turn_id, conversation_id = turn.id, turn.conversation_id
    for _ in range(DEPTH_MAX + 1):
        task = await session.get(models.ChildTask, conversation_id)
        if task is None:
            break
        turn_id, conversation_id = task.parent_turn_id, task.parent_id
    return turn_id


async def _live(session: AsyncSession, *where: object) -> int:
    query = select(func.count()).select_from(models.ChildTask)
    query = query.where(models.ChildTask.state == "running", *where)  # type: ignore[arg-type]
    return await session.scalar(query) or 0
