"""The outbox's entrance: a logical message is queued in the transaction that decides on it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message of the platform to a chat: no turn's answer, and no reply."""

    conversation: models.Conversation
    kind: str
    body: str
    dedupe_key: str
    buttons: tuple[Button, ...] = ()


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
    """Queue a logical message, once per `dedupe_key`; returns its outbox id, empty where the
    conversation is no chat.

    edits_id: the message of ours that it replaces in place. Where the channel can't edit, a notice
    is sent as a message of its own, and any other kind is not sent.
    """
    if conversation.kind != "chat":
        return ""
    queued = await session.scalar(_QUEUED, {"key": dedupe_key})
    if queued is not None:
        return queued
    message = NewMessage(conversation, kind, body, dedupe_key, tuple(buttons))
    row = _row(message, await next_outbox_sequence(session), now)
    row.turn_id = None if turn is None else turn.id
    row.generation = 0 if turn is None else turn.number
    row.reply_to = None if reply_to is None else dict(reply_to)
    row.edits_id = edits_id
    row.media = [asdict(each) for each in media]
    session.add(row)
    await session.flush()
    return row.id


async def enqueue_all(
    session: AsyncSession, messages: Sequence[NewMessage], now: float
) -> Sequence[str]:
    """Queue many messages that were never queued, in order; returns their outbox ids.

    All conversations are locked.
    """
    sequences = await _next_sequences(session, len(messages))
    rows = [_row(one, number, now) for one, number in zip(messages, sequences, strict=True)]
    session.add_all(rows)
    await session.flush()
    return [row.id for row in rows]


def _row(message: NewMessage, sequence: int, now: float) -> models.Outbox:
    body = clean(message.body)
    if len(body) > OUTBOX_TEXT_MAX:
        body = body[: OUTBOX_TEXT_MAX - len(CUT_NOTICE)] + CUT_NOTICE
    return models.Outbox(
        id=new_id(),
        sequence=sequence,
        conversation_id=message.conversation.id,
        channel=message.conversation.channel,
        account=message.conversation.account,
        kind=message.kind,
        text=body,
        buttons=[asdict(button) for button in message.buttons],
        media=[],
        state="pending",
        dedupe_key=message.dedupe_key,
        next_at=now,
        created_at=now,
    )


async def _next_sequences(session: AsyncSession, count: int) -> Sequence[int]:
    if session.get_bind().dialect.name == "postgresql":
        return [await next_outbox_sequence(session) for _ in range(count)]
    first = await next_outbox_sequence(session)
    return range(first, first + count)


async def next_outbox_sequence(session: AsyncSession) -> int:
    """A number above all others of the lane; the conversation is locked."""
    if session.get_bind().dialect.name == "postgresql":
        query = select(func.nextval(text(f"'{models.OUTBOX_SEQUENCE}'")))
        return int((await session.execute(query)).scalar_one())
    highest = await session.scalar(_HIGHEST)
    return (highest or 0) + 1
