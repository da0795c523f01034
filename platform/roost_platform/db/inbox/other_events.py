"""Events that are no new message by themselves: edits, albums, chats that move, come and go."""

from dataclasses import replace

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import Address, InboundMessage
from roost_platform import commands
from roost_platform.db import models
from roost_platform.db.conversations.homes import private_home
from roost_platform.db.conversations.moves import move_conversation
from roost_platform.db.rows import append
from roost_platform.db.turns.stop import record_stop

NOT_ADDRESSED = "not addressed to the agent"
IN_ALBUM = "part of an album"
BLOCKED = "blocked_at"  # among a conversation's settings: since when we can't write there
EDIT_SHOWN_MAX = 2000  # characters of an edited message told to the agent, before and after
_STORED = select(models.Inbox.message_id, models.Inbox.kind).where(
    models.Inbox.channel == bindparam("channel"),
    models.Inbox.account == bindparam("account"),
    models.Inbox.event_id == bindparam("event_id"),
)


# Edits ---------------------------------------------------------------------------------------


async def edit(
    session: AsyncSession, conversation: models.Conversation, row: models.Inbox, now: float
) -> None:
    """A message reads differently now: one that waits is replaced, of an answered one the agent
    is told.
    """
    row.state = "done"
    original = await session.scalar(
        select(models.Inbox)
        .where(
            models.Inbox.conversation_id == conversation.id,
            models.Inbox.message_id == row.message_id,
            models.Inbox.kind == "message",
        )
        .order_by(models.Inbox.sequence.desc())
        .limit(1)
    )
    if original is None:
        row.state, row.reason = "ignored", "an edit of a message we never saw"
    elif original.text == row.text:
        row.reason = "the words did not change"
    elif original.state in ("pending", "held", "ignored"):
        original.text, original.quote = row.text, row.quote
        row.reason = f"replaced a message that was {original.state}"
    else:
        await _tell_edit(session, conversation, original, row, now)


async def _tell_edit(
    session: AsyncSession,
    conversation: models.Conversation,
    original: models.Inbox,
    row: models.Inbox,
    now: float,
) -> None:
    said = await session.scalar(
        select(models.Transcript)
        .where(models.Transcript.inbox_id == original.id)
        .order_by(models.Transcript.position.desc())
        .limit(1)
    )
    if said is None or said.session_id != conversation.session_id:
        row.reason = "an edit of a message that the agent does not see any more"
        return
    newest = await session.scalar(
        select(models.Inbox.text)
        .where(
            models.Inbox.conversation_id == conversation.id,
            models.Inbox.message_id == row.message_id,
            models.Inbox.kind == "edited",
            models.Inbox.sequence < row.sequence,
        )
        .order_by(models.Inbox.sequence.desc())
        .limit(1)
    )
    before = original.text if newest is None else newest
    note = models.Transcript(
        turn_id=None,
        role="system",
        content=f"The user edited an earlier message. Before: {_shown(before)} Now: "
        f"{_shown(row.text)}",
        inbox_id=row.id,
        message_id=row.message_id,
        created_at=now,
    )
    chat = await session.get_one(models.Session, said.session_id)
    await append(session, chat, [note])
    row.reason = "told to the agent"


def _shown(text: str) -> str:
    short = text if len(text) <= EDIT_SHOWN_MAX else f"{text[:EDIT_SHOWN_MAX]} […]"
    return f"\u201c{short}\u201d"


# Albums --------------------------------------------------------------------------------------


async def join_album(
    session: AsyncSession, conversation: models.Conversation, row: models.Inbox
) -> bool:
    """Add a part of an album to the part that waits already; False if none does."""
    head = await session.scalar(
        select(models.Inbox)
        .where(
            models.Inbox.conversation_id == conversation.id,
            models.Inbox.album == row.album,
            models.Inbox.state.in_(("pending", "held")),
            models.Inbox.id != row.id,
        )
        .order_by(models.Inbox.sequence)
        .limit(1)
    )
    if head is None:
        return False
    await _merge(session, head, row)
    return True


async def gather_album(
    session: AsyncSession, conversation: models.Conversation, row: models.Inbox
) -> None:
    """In groups only the part with the caption speaks to us: it brings those before it along."""
    earlier = await session.scalars(
        select(models.Inbox)
        .where(
            models.Inbox.conversation_id == conversation.id,
            models.Inbox.album == row.album,
            models.Inbox.state == "ignored",
            models.Inbox.reason == NOT_ADDRESSED,
            models.Inbox.id != row.id,
        )
        .order_by(models.Inbox.sequence)
    )
    mine, row.attachments = row.attachments, []
    for part in earlier.all():
        await _merge(session, row, part)
    row.attachments = [*row.attachments, *mine]


async def _merge(session: AsyncSession, head: models.Inbox, part: models.Inbox) -> None:
    head.attachments = [*head.attachments, *part.attachments]
    words = [text for text in (head.text, part.text) if text]
    head.text, head.quote = "\n".join(words), head.quote or part.quote
    part.state, part.reason = "done", IN_ALBUM
    await session.flush()
    await session.execute(
        update(models.Artifact)
        .where(models.Artifact.inbox_id == part.id)
        .values(inbox_id=head.id)
        .execution_options(synchronize_session=False)
    )


# Chats ---------------------------------------------------------------------------------------


async def migrate(
    session: AsyncSession, conversation: models.Conversation, row: models.Inbox, new_chat: str
) -> None:
    """The chat has a new id: its conversation goes on there."""
    row.state, row.reason = "done", f"the chat moved to {new_chat}"
    if conversation.chat != new_chat:
        await move_conversation(session, conversation, new_chat)


async def change_membership(
    session: AsyncSession, conversation: models.Conversation, row: models.Inbox, now: float
) -> bool:
    """We were let in or shut out; True when a running turn is to be stopped."""
    settings = {name: v for name, v in conversation.settings.items() if name != BLOCKED}
    row.state = "done"
    if row.text != "out":
        conversation.settings, row.reason = settings, "we may write here"
        return False
    conversation.settings = {**settings, BLOCKED: now}
    row.reason = "we may not write here any more"
    stopped = await record_stop(session, conversation, "the chat, which shut us out", now)
    return stopped.turn_id is not None


async def home_of(session: AsyncSession, message: InboundMessage) -> Address:
    """The conversation an event belongs to, where its own address does not say it whole.

    A button under a message too old to be shown comes without its topic; a chat that moved is
    known by its new id; a person may write under another of their names.
    """
    pressed = commands.parse(message.text, "callback") if message.kind == "callback" else None
    if pressed is not None:
        turn = await session.get(models.Turn, pressed.turn_id)
        if turn is not None:
            found = await session.get_one(models.Conversation, turn.conversation_id)
            here = (found.channel, found.account, found.chat)
            asked = message.address
            if here == (asked.channel, asked.account, asked.chat):
                return Address(asked.channel, asked.account, asked.chat, found.thread)
    if message.kind == "migrated":
        old = message.address
        new = Address(old.channel, old.account, message.text, old.thread)
        by_key = select(models.Conversation.id).where(models.Conversation.key == old.key)
        if (await session.scalar(by_key)) is None:
            return new
    return await private_home(session, message)


async def at_home(session: AsyncSession, message: InboundMessage) -> InboundMessage:
    home = await home_of(session, message)
    return message if home == message.address else replace(message, address=home)


# Ids -----------------------------------------------------------------------------------------


async def new_event_id(
    session: AsyncSession, channel: str, account: str, message: InboundMessage
) -> str | None:
    """The id to store the event under; None for one that is stored already.

    Telegram numbers updates anew after a quiet week, so a number can come again for something
    else: that has an id with its message in it.
    """
    for event_id in (message.event_id, f"{message.event_id}:{message.message_id}:{message.kind}"):
        stored = {"channel": channel, "account": account, "event_id": event_id}
        known = (await session.execute(_STORED, stored)).first()
        if known is None:
            return event_id
        if tuple(known) == (message.message_id, message.kind):
            return None
    return None
