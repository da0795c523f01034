"""What an answer replies to, as it is stored with a turn and with a queued message."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import ReplyTarget
from roost_platform.db import models

EXCERPT_MAX = 200  # characters of a message kept as a reply target's excerpt
_NEWEST = (
    select(models.Inbox.sequence, models.Inbox.turn_id, models.Inbox.message_id)
    .where(
        models.Inbox.conversation_id == bindparam("id"),
        models.Inbox.kind == "message",
        models.Inbox.state.in_(("pending", "taken", "done")),
    )
    .order_by(models.Inbox.sequence.desc())
    .limit(1)
)


def reply_target_of(value: Mapping[str, Any] | None) -> ReplyTarget | None:
    """The reply target that a JSON column holds."""
    return None if value is None else ReplyTarget(**value)


async def reply_target(session: AsyncSession, row: models.Inbox) -> dict[str, Any]:
    """A reply to this inbound message, as stored. `is_latest` holds in this transaction."""
    newest = (await session.execute(_NEWEST, {"id": row.conversation_id})).first()
    target = ReplyTarget(
        message_id=row.message_id,
        author=str(row.sender.get("display_name", "")),
        excerpt=" ".join(row.text.split())[:EXCERPT_MAX],
        is_latest=newest is None or row.sequence >= newest.sequence,
        is_reply=row.quote is not None,
    )
    return asdict(target)


async def is_overtaken(session: AsyncSession, entry: models.Outbox) -> bool:
    """Whether a newer message came since a queued reply to the latest one was decided."""
    if entry.reply_to is None or not entry.reply_to.get("is_latest"):
        return False
    newest = (await session.execute(_NEWEST, {"id": entry.conversation_id})).first()
    if newest is None or (entry.turn_id is not None and newest.turn_id == entry.turn_id):
        return False
    return bool(newest.message_id != entry.reply_to.get("message_id"))


async def refresh_reply_target(session: AsyncSession, turn: models.Turn) -> dict[str, Any] | None:
    """The turn's reply target with `is_latest` as of now: a turn replies to the newest message it
    took.
    """
    if turn.reply_to is None:
        return None
    newest = (await session.execute(_NEWEST, {"id": turn.conversation_id})).first()
    return {**turn.reply_to, "is_latest": newest is None or newest.turn_id == turn.id}
