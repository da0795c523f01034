"""Locks on conversations and turns: the lock of a conversation is always taken first.

A child's conversation has one lock with all others of its tree: the row of the chat at the top.
"""

from sqlalchemy import bindparam, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.errors import NotFound, TurnOver

# Nearly every transaction begins with these, so they are built once.
_ABOVE = models.Conversation.__table__.alias("above")
_ROOT = select(_ABOVE.c.root_id).where(_ABOVE.c.id == bindparam("id")).scalar_subquery()
_CONVERSATIONS = (
    select(models.Conversation)
    .where(or_(models.Conversation.id == bindparam("id"), models.Conversation.id == _ROOT))
    .order_by(models.Conversation.depth)  # the top first: rows are locked in this order
)
_LOCK_CONVERSATION = _CONVERSATIONS.with_for_update()
_TRY_LOCK_CONVERSATION = _CONVERSATIONS.with_for_update(skip_locked=True)
_CONVERSATION_OF = select(models.Turn.conversation_id).where(models.Turn.id == bindparam("id"))
OPEN_STATES = ("running", "waiting")
_OPEN = select(models.Turn).where(
    models.Turn.conversation_id == bindparam("id"), models.Turn.state.in_(OPEN_STATES)
)


async def lock_conversation(session: AsyncSession, conversation_id: str) -> models.Conversation:
    """The conversation, locked until the transaction ends. Raises NotFound."""
    rows = (await session.scalars(_LOCK_CONVERSATION, {"id": conversation_id})).all()
    row = next((row for row in rows if row.id == conversation_id), None)
    if row is None:
        raise NotFound(f"No conversation {conversation_id}.")
    return row


async def try_lock_conversation(
    session: AsyncSession, conversation_id: str
) -> models.Conversation | None:
    """The conversation, locked; None while somebody else holds it, or where there is none."""
    rows = (await session.scalars(_TRY_LOCK_CONVERSATION, {"id": conversation_id})).all()
    row = next((row for row in rows if row.id == conversation_id), None)
    if row is None or (row.root_id is not None and row.root_id not in {each.id for each in rows}):
        return None
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


async def open_turn(session: AsyncSession, conversation_id: str) -> models.Turn | None:
    """The conversation's turn that runs or waits, None when there is none."""
    return await session.scalar(_OPEN, {"id": conversation_id})
