"""Conversations that the sweeper rings again: their doorbell was lost or their worker died."""

from collections.abc import Sequence

from sqlalchemy import bindparam, func, or_, select, union_all, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.locks import OPEN_STATES
from roost_platform.db.policies.switches import is_off

# The sweeper runs these every second, so they are built once.
_WAITS = select(models.Turn.id).where(
    models.Turn.conversation_id == models.Inbox.conversation_id, models.Turn.state == "waiting"
)
_IS_OFF = (
    select(models.Conversation.id)
    .where(models.Conversation.id == models.Inbox.conversation_id, is_off())
    .exists()
)
_WAITING = (
    select(models.Inbox.conversation_id)
    .where(
        models.Inbox.state == "pending",
        models.Inbox.received_at <= bindparam("older_than"),
        or_(models.Inbox.rung_at.is_(None), models.Inbox.rung_at <= bindparam("not_rung_since")),
        ~_WAITS.exists(),
        ~_IS_OFF,
    )
    .group_by(models.Inbox.conversation_id)
    .order_by(func.min(models.Inbox.received_at))
    .limit(bindparam("most"))
)
_SILENT = (
    select(models.Turn.conversation_id)
    .join(models.RunProgress, models.RunProgress.turn_id == models.Turn.id)
    .where(
        models.Turn.state == "running", models.RunProgress.updated_at <= bindparam("silent_since")
    )
    .order_by(models.RunProgress.updated_at)
    .limit(bindparam("most"))
)
# What a turn waited for is there, and it did not go on.
_READY = (
    select(models.Turn.conversation_id)
    .join(models.ToolCall, models.ToolCall.turn_id == models.Turn.id)
    .where(models.Turn.state == "waiting", models.ToolCall.state == "ready")
    .limit(bindparam("most"))
)
_STOPPING = (
    select(models.Turn.conversation_id)
    .where(
        models.Turn.state.in_(OPEN_STATES), models.Turn.stop_requested_at <= bindparam("older_than")
    )
    .order_by(models.Turn.stop_requested_at)
    .limit(bindparam("most"))
)
_OPEN = union_all(
    select(models.Inbox.id).where(models.Inbox.state == "pending", ~_WAITS.exists(), ~_IS_OFF),
    select(models.Turn.id).where(
        or_(models.Turn.state == "running", models.Turn.stop_requested_at.is_not(None)),
        models.Turn.state.in_(OPEN_STATES),
    ),
    select(models.ToolCall.turn_id).where(models.ToolCall.state == "ready"),
).limit(1)


async def has_open_work(session: AsyncSession) -> bool:
    """Whether a message waits for a turn or a turn can run: only then can anything be overdue."""
    return await session.scalar(_OPEN, {}) is not None


async def to_ring(
    session: AsyncSession,
    older_than: float,
    not_rung_since: float,
    silent_since: float,
    limit: int,
) -> list[str]:
    """Conversations whose messages wait too long, then those whose turn makes no progress, and
    those whose turn need not wait any more.
    """
    waiting = await session.scalars(
        _WAITING, {"older_than": older_than, "not_rung_since": not_rung_since, "most": limit}
    )
    silent = await session.scalars(_SILENT, {"silent_since": silent_since, "most": limit})
    ready = await session.scalars(_READY, {"most": limit})
    return list(dict.fromkeys([*waiting, *silent, *ready]))[:limit]


async def to_stop(session: AsyncSession, older_than: float, limit: int) -> list[str]:
    """Conversations whose recorded stop had no effect yet."""
    return list(await session.scalars(_STOPPING, {"older_than": older_than, "most": limit}))


async def mark_rung(session: AsyncSession, conversation_ids: Sequence[str], now: float) -> None:
    """Remember when the waiting messages of these conversations were rung for."""
    await session.execute(
        update(models.Inbox)
        .where(
            models.Inbox.state == "pending",
            models.Inbox.conversation_id.in_(list(conversation_ids)),
        )
        .values(rung_at=now)
    )
