"""A turn that waits: when it parks, when it can go on, and how its waits end with it."""

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models

_STATES = select(models.ToolCall.state).where(
    models.ToolCall.turn_id == bindparam("id"), models.ToolCall.state.in_(("waiting", "ready"))
)
_SHOWN = (
    update(models.RunProgress)
    .where(models.RunProgress.turn_id == bindparam("id"))
    .values(
        phase=bindparam("now_in"),
        version=models.RunProgress.version + 1,
        updated_at=bindparam("at"),
    )
    .execution_options(synchronize_session=False)
)


async def can_go_on(session: AsyncSession, turn_id: str) -> bool:
    """Whether a call of the turn is ready, or none waits any more."""
    states = set((await session.scalars(_STATES, {"id": turn_id})).all())
    return "ready" in states or not states


async def is_waiting(session: AsyncSession, turn_id: str) -> bool:
    """Whether a call of the turn waits for a person, an agent or a time."""
    return "waiting" in (await session.scalars(_STATES, {"id": turn_id})).all()


async def park(session: AsyncSession, turn: models.Turn, now: float) -> None:
    """Let the turn wait."""
    turn.state, turn.waiting_since = "waiting", now
    await session.execute(_SHOWN, {"id": turn.id, "now_in": "waiting", "at": now})


async def unpark(session: AsyncSession, turn: models.Turn, now: float) -> None:
    """Let a waiting turn run again. Its pause does not count as work."""
    if turn.waiting_since is not None:
        turn.waited_s += max(now - turn.waiting_since, 0.0)
    turn.state, turn.waiting_since = "running", None
    await session.execute(_SHOWN, {"id": turn.id, "now_in": "queued", "at": now})


async def make_ready(session: AsyncSession, turn_id: str, step: int, call_id: str) -> str | None:
    """Let a waiting call go on; the conversation to ring, None where it does not wait."""
    call = await session.get(models.ToolCall, (turn_id, step, call_id))
    if call is None or call.state != "waiting":
        return None
    call.state, call.due_at = "ready", None
    turn = await session.get_one(models.Turn, turn_id)
    return turn.conversation_id
