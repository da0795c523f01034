"""Steps that several stores share inside their transactions: ids, locks, conversions, appends."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any, cast

from sqlalchemy import Executable, Table, bindparam, func, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils import uuid7

from roost_channels.message import Address, Button, Media, Quote, ReplyTarget
from roost_platform.db import models
from roost_platform.errors import NotFound, TurnOver

OUTBOX_TEXT_MAX = 100_000  # characters of one logical message; what is beyond is cut, and says so
CUT_NOTICE = "\n\n(The rest was cut: the message was too long to deliver.)"
NONCE_BYTES = 9
EXCERPT_MAX = 200  # characters of a message kept as a reply target's excerpt

# What nearly every transaction begins with is made once.
_LOCK_CONVERSATION = (
    select(models.Conversation).where(models.Conversation.id == bindparam("id")).with_for_update()
)
_CONVERSATION_OF = select(models.Turn.conversation_id).where(models.Turn.id == bindparam("id"))
_RUNNING = select(models.Turn).where(
    models.Turn.conversation_id == bindparam("id"), models.Turn.state == "running"
)
_QUEUED = select(models.Outbox.id).where(models.Outbox.dedupe_key == bindparam("key"))
_HIGHEST = select(func.max(models.Outbox.sequence))
_NEWEST = (
    select(models.Inbox.sequence, models.Inbox.turn_id)
    .where(
        models.Inbox.conversation_id == bindparam("id"),
        models.Inbox.kind == "message",
        models.Inbox.state.in_(("pending", "taken", "done")),
    )
    .order_by(models.Inbox.sequence.desc())
    .limit(1)
)
_ANSWERED = (
    update(models.Inbox)
    .where(models.Inbox.turn_id == bindparam("id_of_turn"), models.Inbox.state == "taken")
    .values(state="done")
    .execution_options(synchronize_session=False)
)


def new_id() -> str:
    return str(uuid7())


def new_nonce() -> str:
    """A word that nobody guesses, short enough for a button beside an id."""
    return secrets.token_urlsafe(NONCE_BYTES)


def clean(value: Any) -> Any:
    """The value without what databases refuse in text: NUL and lone surrogates, at any depth."""
    if isinstance(value, str):
        return value.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {clean(str(key)): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value


def address_of(conversation: models.Conversation) -> Address:
    return Address(
        conversation.channel,
        conversation.account,
        conversation.chat,
        conversation.thread,
        conversation.is_group,
    )


def quote_of(value: Mapping[str, Any] | None) -> Quote | None:
    return None if value is None else Quote(**value)


def reply_target_of(value: Mapping[str, Any] | None) -> ReplyTarget | None:
    return None if value is None else ReplyTarget(**value)


async def insert_missing(session: AsyncSession, model: type[models.Base], **values: Any) -> None:
    """Insert a row unless its key is taken; concurrent inserts wait for each other."""
    await session.execute(_insert_missing(model, session.get_bind().dialect.name), values)


@cache  # as many as there are tables
def _insert_missing(model: type[models.Base], dialect: str) -> Executable:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(cast(Table, model.__table__)).on_conflict_do_nothing()


async def lock_conversation(session: AsyncSession, conversation_id: str) -> models.Conversation:
    """The conversation, held until the transaction ends: always the first lock taken."""
    row = await session.scalar(_LOCK_CONVERSATION, {"id": conversation_id})
    if row is None:
        raise NotFound(f"No conversation {conversation_id}.")
    return row


async def get_turn(session: AsyncSession, turn_id: str) -> models.Turn:
    row = await session.get(models.Turn, turn_id)
    if row is None:
        raise NotFound(f"No turn {turn_id}.")
    return row


async def lock_turn(
    session: AsyncSession, turn_id: str, *, running: bool = True
) -> tuple[models.Turn, models.Conversation]:
    """A turn and its conversation, held; TurnOver unless it runs, when `running` is asked for."""
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
    return await session.scalar(_RUNNING, {"id": conversation_id})


async def current_session(
    session: AsyncSession, conversation: models.Conversation, now: float
) -> models.Session:
    """The conversation's session, opened when there is none."""
    if conversation.session_id is not None:
        found = await session.get(models.Session, conversation.session_id)
        if found is not None:
            return found
    return await open_session(session, conversation, now)


async def open_session(
    session: AsyncSession, conversation: models.Conversation, now: float
) -> models.Session:
    """Close the current session, if any, and make a new one current."""
    number = 1
    if conversation.session_id is not None:
        old = await session.get(models.Session, conversation.session_id)
        if old is not None:
            old.closed_at = now
            number = old.number + 1
    row = models.Session(
        id=new_id(),
        conversation_id=conversation.id,
        number=number,
        agent=conversation.agent,
        transcript_length=0,
        created_at=now,
    )
    session.add(row)
    conversation.session_id = row.id
    return row


async def append(
    session: AsyncSession, chat: models.Session, rows: Sequence[models.Transcript]
) -> None:
    """Add transcript rows at the end; the caller holds the conversation's lock."""
    for row in rows:
        row.id = new_id()
        row.session_id = chat.id
        row.position = chat.transcript_length
        chat.transcript_length += 1
        session.add(row)


async def next_outbox_sequence(session: AsyncSession) -> int:
    """A number above all before it in the lane; the caller holds the conversation's lock."""
    if session.get_bind().dialect.name == "postgresql":
        query = select(func.nextval(text(f"'{models.OUTBOX_SEQUENCE}'")))
        return int((await session.execute(query)).scalar_one())
    highest = await session.scalar(_HIGHEST)
    return (highest or 0) + 1


async def queue(
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
) -> str:
    """Queue a logical message, once per `dedupe_key`; returns its outbox id."""
    found = await session.scalar(_QUEUED, {"key": dedupe_key})
    if found is not None:
        return found
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
        media=[asdict(one) for one in media],
        state="pending",
        dedupe_key=dedupe_key,
        next_at=now,
        created_at=now,
    )
    session.add(row)
    await session.flush()
    return row.id


async def reply_target(session: AsyncSession, row: models.Inbox) -> dict[str, Any]:
    """A reply to this inbound message. `is_latest` holds as of this transaction."""
    newest = (await session.execute(_NEWEST, {"id": row.conversation_id})).first()
    target = ReplyTarget(
        message_id=row.message_id,
        author=str(row.sender.get("display_name", "")),
        excerpt=" ".join(row.text.split())[:EXCERPT_MAX],
        is_latest=newest is None or row.sequence >= newest.sequence,
    )
    return asdict(target)


async def refresh_reply_target(session: AsyncSession, turn: models.Turn) -> dict[str, Any] | None:
    """The turn's reply target with `is_latest` as of now: it replies to the newest it took."""
    if turn.reply_to is None:
        return None
    newest = (await session.execute(_NEWEST, {"id": turn.conversation_id})).first()
    return {**turn.reply_to, "is_latest": newest is None or newest.turn_id == turn.id}


async def finish_inbox(session: AsyncSession, turn_id: str) -> None:
    """The messages a turn took are answered."""
    await session.execute(_ANSWERED, {"id_of_turn": turn_id})
