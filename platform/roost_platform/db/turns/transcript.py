"""The transcript: taking messages from the inbox, and reading what the model is to see."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, cast

from sqlalchemy import bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost.disarming.marks import plain_name, unlisted
from roost.messages import MessageFile, NoteKind
from roost_platform.db import models
from roost_platform.db.base.ids import new_id
from roost_platform.db.message_files import NAME_MAX
from roost_platform.db.reply_targets import reply_target
from roost_workflows.ports import TranscriptMessage

TURN_MESSAGES_MAX = 50  # inbox rows one turn starts with or one step steers in; the rest wait
CONTEXT_MESSAGES_MAX = 1000  # transcript rows read for a model call, newest kept
GROUP_MESSAGES_MAX = 30  # what a group said before the agent was spoken to, newest kept
GROUP_CHARS_MAX = 4000
_ROUND_BRACKETS = str.maketrans("[]", "()")  # a file's name can't end the line that names it
SCHEDULE_KIND = "schedule"  # of what no person wrote just now
RESULT = "result"  # the kind of inbox rows that bring an agent's answer to whom it worked for
FROM_AGENT = "the answer of an agent, not of a person"
RETRIED = "retried"  # the note of a failure behind which the turn was tried again
CAPTION = "caption"  # in the attachments of an album: the words beside the picture
ALBUM_S = 1.0  # a turn waits this long, from its first part on, for an album to be whole

# Every turn runs these, so they are built once.
_OF_CONVERSATION = models.Inbox.conversation_id == bindparam("id"), models.Inbox.state == "pending"
_PENDING = (
    select(models.Inbox)
    .where(*_OF_CONVERSATION)
    .order_by(models.Inbox.sequence)
    .limit(bindparam("most"))
)
_SPAN = select(
    func.count(), func.min(models.Inbox.received_at), func.max(models.Inbox.received_at)
).where(*_OF_CONVERSATION)
_NEWEST_MESSAGES = (
    select(models.Transcript)
    .where(
        models.Transcript.session_id == bindparam("id"),
        models.Transcript.position < bindparam("end"),
        models.Transcript.note_kind != RETRIED,
    )
    .order_by(models.Transcript.position.desc())
    .limit(bindparam("most"))
)

_BLOCKED = (
    select(models.Alias.address)
    .join(models.Identity, models.Identity.id == models.Alias.identity_id)
    .where(
        models.Alias.channel == bindparam("channel"),
        models.Alias.address.in_(bindparam("writers", expanding=True)),
        models.Identity.access == "blocked",
    )
)


async def append(
    session: AsyncSession, chat_session: models.Session, rows: Sequence[models.Transcript]
) -> None:
    """Add transcript rows at the end of a session; the conversation is locked."""
    for row in rows:
        row.id = new_id()
        row.session_id = chat_session.id
        row.position = chat_session.transcript_length
        chat_session.transcript_length += 1
        session.add(row)


async def pending_rows(
    session: AsyncSession, conversation_id: str, limit: int = TURN_MESSAGES_MAX
) -> Sequence[models.Inbox]:
    """The oldest messages that wait for a turn."""
    return (await session.scalars(_PENDING, {"id": conversation_id, "most": limit})).all()


def complete_rows(rows: Sequence[models.Inbox], now: float) -> Sequence[models.Inbox]:
    """The pending rows before the first album that may not be complete yet."""
    return rows[: next((i for i, row in enumerate(rows) if album_wait_s(row, now)), len(rows))]


def album_wait_s(row: models.Inbox, now: float) -> float:
    """Seconds until the row's album counts as complete; 0 if it is not part of an album."""
    return max(row.received_at + ALBUM_S - now, 0.0) if row.album else 0.0


async def waiting_span(
    session: AsyncSession, conversation_id: str, rows: Sequence[models.Inbox]
) -> tuple[int, float, float]:
    """How many messages wait for a turn, and when the first and the last of them were received.

    rows: from `pending_rows`; the whole queue unless it is a long one.
    """
    if len(rows) < TURN_MESSAGES_MAX:
        received = [row.received_at for row in rows]
        return len(rows), min(received), max(received)
    count, oldest, newest = (await session.execute(_SPAN, {"id": conversation_id})).one()
    return count, oldest, newest


async def take(
    session: AsyncSession,
    turn: models.Turn,
    chat_session: models.Session,
    rows: Sequence[models.Inbox],
    now: float,
) -> None:
    """Move inbox rows into the transcript and store a new turn, which replies to the newest."""
    if not rows:
        return
    written = next((row for row in reversed(rows) if row.kind != SCHEDULE_KIND), None)
    if written is not None:  # nobody wrote what a schedule says
        turn.reply_to = await reply_target(session, written)
    session.add(turn)
    await session.flush()
    messages_of_users = [
        models.Transcript(
            turn_id=turn.id,
            role="user",
            content=content_of(row),
            forwarded_from=row.forwarded_from,
            payload=row.payload,
            quoted=row.quote,
            context=await context_of(session, row),
            files=files_of(row),
            name=str(row.sender.get("display_name", "")),
            **_notes_of(row),
            inbox_id=row.id,
            message_id=row.message_id,
            created_at=now,
        )
        for row in rows
    ]
    await _add_kept_payload(session, turn.conversation_id, messages_of_users[0])
    await append(session, chat_session, messages_of_users)
    for row in rows:
        row.state, row.turn_id = "taken", turn.id


def _notes_of(row: models.Inbox) -> dict[str, str]:
    """The columns of a message that no person wrote: whose words it is, or when it was due."""
    if row.kind == RESULT:
        return {"note_kind": "agent", "note": FROM_AGENT}
    if row.kind == SCHEDULE_KIND:
        return {"note_kind": "scheduled", "note": str(row.raw.get("due", ""))}
    return {}


async def _add_kept_payload(
    session: AsyncSession, conversation_id: str, first: models.Transcript
) -> None:
    """Give the turn's first message what came along with a command before it."""
    conversation = await session.get_one(models.Conversation, conversation_id)
    if conversation.payload:
        first.payload = "\n".join(filter(None, (conversation.payload, first.payload)))
        conversation.payload = ""


async def context_of(session: AsyncSession, row: models.Inbox) -> list[list[str]] | None:
    """What a group said since it last addressed the agent, newest kept; None outside groups."""
    conversation = await session.get_one(models.Conversation, row.conversation_id)
    if not conversation.is_group:
        return None
    spoken_to = select(func.max(models.Inbox.sequence)).where(
        models.Inbox.conversation_id == row.conversation_id,
        models.Inbox.sequence < row.sequence,
        models.Inbox.kind == "message",
        models.Inbox.state.in_(("taken", "done")),
        models.Inbox.turn_id.is_not(None),
    )
    since = (await session.scalar(spoken_to)) or 0
    others = await session.scalars(
        select(models.Inbox)
        .where(
            models.Inbox.conversation_id == row.conversation_id,
            models.Inbox.sequence > since,
            models.Inbox.sequence < row.sequence,
            models.Inbox.kind == "message",
            models.Inbox.reason_code == "not_addressed",
        )
        .order_by(models.Inbox.sequence.desc())
        .limit(GROUP_MESSAGES_MAX)
    )
    lines: list[list[str]] = []
    chars_left = GROUP_CHARS_MAX
    rows = others.all()
    blocked = await _blocked(session, row.channel, rows)
    for other in rows:
        if other.sender.get("address") in blocked:
            continue
        text = content_of(other)
        chars_left -= len(text)
        if chars_left < 0:
            break
        lines.append([_writer_of(other), text])
    return lines[::-1]


def files_of(row: models.Inbox) -> list[dict[str, Any]] | None:
    """The files of a message, not read yet; None without any."""
    files = [
        asdict(
            MessageFile(
                id=str(one["artifact_id"]),
                kind=str(one.get("kind") or ""),
                name=str(one.get("name") or "")[:NAME_MAX],
                mime_type=str(one.get("mime_type") or ""),
            )
        )
        for one in row.attachments
        if one.get("artifact_id")
    ]
    return files or None


async def _blocked(
    session: AsyncSession, channel: str, rows: Sequence[models.Inbox]
) -> frozenset[str]:
    """Addresses among the writers of these rows who were blocked, before they wrote or since."""
    writers = {str(row.sender.get("address", "")) for row in rows}
    if not writers:
        return frozenset()
    return frozenset(await session.scalars(_BLOCKED, {"channel": channel, "writers": [*writers]}))


def _writer_of(row: models.Inbox) -> str:
    name = str(row.sender.get("display_name", ""))
    return f"{name} (forwarded from {row.forwarded_from})" if row.forwarded_from else name


def content_of(row: models.Inbox) -> str:
    """The text as the agent reads it; every attachment is named."""
    lines = [attachment_line(attachment) for attachment in row.attachments]
    captions = [unlisted(attachment.get(CAPTION) or "") for attachment in row.attachments]
    if sum(map(bool, captions)) > 1:  # of an album: each picture keeps its own
        captioned = zip(lines, captions, strict=True)
        return "\n".join(f"{line} {own}".rstrip() for line, own in captioned)
    if row.text or not lines:
        lines.append(unlisted(row.text) or "[message without text]")
    return "\n".join(lines)


def attachment_line(attachment: Mapping[str, Any]) -> str:
    """`[photo: artifact k3m9x2p7qa, holiday.jpg]`; an attachment that is not a file has no id."""
    kind = attachment.get("kind") or "attachment"
    artifact_id = attachment.get("artifact_id")
    name = str(attachment.get("name") or "")
    if artifact_id:
        name = plain_name(name.translate(_ROUND_BRACKETS))
    named = (f"artifact {artifact_id}" if artifact_id else "", name)
    details = unlisted(", ".join(word for word in named if word))
    return f"[{kind}: {details}]" if details else f"[{kind}]"


async def messages(session: AsyncSession, session_id: str, end: int) -> list[TranscriptMessage]:
    """The transcript before position `end` as the model is to see it; a long one is cut to begin at
    a user's message.
    """
    newest = {"id": session_id, "most": CONTEXT_MESSAGES_MAX, "end": end}
    rows = (await session.scalars(_NEWEST_MESSAGES, newest)).all()[::-1]
    if len(rows) == CONTEXT_MESSAGES_MAX:
        first = next((i for i, row in enumerate(rows) if row.role == "user"), 0)
        rows = rows[first:]
    return [message_of(row) for row in rows]


def message_of(row: models.Transcript) -> TranscriptMessage:
    """A transcript row as the model sees it; an operator's answer counts as the assistant's."""
    is_operator = row.role == "operator"
    role = "assistant" if is_operator else row.role
    return TranscriptMessage(
        role=cast(Literal["user", "assistant", "tool", "system"], role),
        content=row.content,
        message_id=row.id,
        forwarded_from=row.forwarded_from,
        payload=row.payload,
        quoted=row.quoted,
        context=None if row.context is None else tuple((str(c[0]), str(c[1])) for c in row.context),
        tool_calls=tuple((str(c[0]), str(c[1]), str(c[2])) for c in row.tool_calls),
        tool_call_id=row.tool_call_id,
        name=row.name,
        status=row.status,
        note_kind="operator" if is_operator else cast(NoteKind, row.note_kind),
        note="written by a person in your place" if is_operator else row.note,
        engine_message_id=row.engine_message_id,
        files=tuple(MessageFile(**one) for one in row.files or ()),
        position=row.position,
    )
