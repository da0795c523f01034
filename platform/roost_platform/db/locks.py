"""Locks on conversations and turns: the lock of a conversation is always taken first."""

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.errors import NotFound, TurnOver

# Nearly every transaction begins with these, so they are built once.
_LOCK_CONVERSATION = (
    select(models.Conversation).where(models.Conversation.id == bindparam("id")).with_for_update()
)
_CONVERSATION_OF = select(models.Turn.conversation_id).where(models.Turn.id == bindparam("id"))
_RUNNING = select(models.Turn).where(
    models.Turn.conversation_id == bindparam("id"), models.Turn.state == "running"
)


async def lock_conversation(session: AsyncSession, conversation_id: str) -> models.Conversation:
    """The conversation, locked until the transaction ends. Raises NotFound."""
    row = await session.scalar(_LOCK_CONVERSATION, {"id": conversation_id})
    if row is None:
        raise NotFound(f"No conversation {conversation_id}.")
    return row


async def get_turn(session: AsyncSession, turn_id: str) -> models.Turn:
    """The turn, not locked. Raises NotFound."""
    row = await session.get(models.Turn, turn_id)
    if row is None:
        raise NotFound(f"No turn {turn_id}.")
    return row


async def lock_turn(
    session: AsyncSession, turn_id: str, *, running: bool = True
) -> tuple[models.Turn, models.Conversation]:
    """A turn and its conversation, locked until the transaction ends.

    Raises NotFound, and TurnOver for a turn that does not run unless `running` is False.
    """
    conversation_id = await session.scalar(_CONVERSATION_OF, {"id": turn_id})
    if conversation_id is None:
        raise NotFound(f"No turn {turn_id}.")
    conversation = await lock_conversation(session, conversation_id)
    turn = await get_turn(session, turn_id)
    if running:
        check_running(turn)
    return turn, conversation


def check_running(turn: models.Turn) -> None:
    """Raise TurnOver unless the turn runs."""
    if turn.state != "running":
        raise TurnOver(f"Turn {turn.id} is {turn.state}.")


async def running_turn(session: AsyncSession, conversation_id: str) -> models.Turn | None:
    """The conversation's running turn, None when none runs."""
    return await session.scalar(_RUNNING, {"id": conversation_id})
