"""The outbox's entrance: a logical message is queued in the transaction that decides on it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import bindparam, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import Button, Media
from roost_platform.db import models
from roost_platform.db.base.ids import new_id
from roost_platform.db.base.text import clean

OUTBOX_TEXT_MAX = 100_000  # characters of one logical message; what is beyond is cut, and says so
CUT_NOTICE = "\n\n(The rest was cut: the message was too long to deliver.)"
_QUEUED = select(models.Outbox.id).where(models.Outbox.dedupe_key == bindparam("key"))
_HIGHEST = select(func.max(models.Outbox.sequence))


async def enqueue(
    session: AsyncSession,
    conversation: models.Conversation,
    *,
    kind: str,
    body: str,
    dedupe_key: str,
    now: float,
    turn: models.Turn | None = None,
    reply_to: Mapping[str, Any] | None = None,
    buttons: Sequence[Button] = (),
    media: Sequence[Media] = (),
    edits_id: str | None = None,
) -> str:
    """Queue a logical message, once per `dedupe_key`; returns its outbox id, empty for a child's
    conversation, which is no chat.

    edits_id: the message of ours that it replaces in place. Where the channel can't edit, a notice
    is sent as a message of its own, and any other kind is not sent.
    """
    if conversation.kind == "child":
        return ""
    queued = await session.scalar(_QUEUED, {"key": dedupe_key})
    if queued is not None:
        return queued
    body = clean(body)
    if len(body) > OUTBOX_TEXT_MAX:
        body = body[: OUTBOX_TEXT_MAX - len(CUT_NOTICE)] + CUT_NOTICE
    row = models.Outbox(
        id=new_id(),
        sequence=await next_outbox_sequence(session),
        conversation_id=conversation.id,
        channel=conversation.channel,
        account=conversation.account,
        turn_id=None if turn is None else turn.id,
        generation=0 if turn is None else turn.number,
        kind=kind,
        text=body,
        reply_to=None if reply_to is None else dict(reply_to),
        buttons=[asdict(button) for button in buttons],
        media=[asdict(each) for each in media],
        edits_id=edits_id,
        state="pending",
        dedupe_key=dedupe_key,
        next_at=now,
        created_at=now,
    )
    session.add(row)
    await session.flush()
    return row.id


async def next_outbox_sequence(session: AsyncSession) -> int:
    """A number above all others of the lane; the conversation is locked."""
    if session.get_bind().dialect.name == "postgresql":
        query = select(func.nextval(text(f"'{models.OUTBOX_SEQUENCE}'")))
        return int((await session.execute(query)).scalar_one())
    highest = await session.scalar(_HIGHEST)
    return (highest or 0) + 1
