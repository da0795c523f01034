"""A person's words in chats of others: taken out, while the others' words stay."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost.disarming.marks import INVISIBLE
from roost_platform.db import models
from roost_platform.db.turns.transcript import content_of
from roost_platform.privacy.belongings import Belongings

GONE: Final = "[deleted]"
NAME_GONE: Final = "Deleted person"
NEEDLE_CHARS_MIN: Final = 5  # a shorter name or number is part of too much
SENDER_GONE: Final = {"address": "", "display_name": NAME_GONE, "username": ""}


@dataclass(slots=True)
class GroupTraces:
    """What of the person one group has. events: (channel, account, event id) of their messages.

    turns: that took one of their messages. files: ids of artifacts whose bytes are to go.
    schedules: ids of theirs. said: dedupe keys of what the platform said of their schedules and
    commands. texts, message_ids: of their messages. names, addresses: how they are known.
    needles: those of them that tell the person also inside of a longer text.
    """

    rows: list[models.Inbox] = field(default_factory=list)
    events: list[tuple[str, str, str]] = field(default_factory=list)
    turns: set[str] = field(default_factory=set)
    schedules: list[str] = field(default_factory=list)
    said: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    files: list[str] = field(default_factory=list)
    message_ids: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    addresses: set[str] = field(default_factory=set)

    @property
    def needles(self) -> frozenset[str]:
        """See the class; a short one may be in anything."""
        known = self.names | self.addresses
        return frozenset(one for one in known if len(one) >= NEEDLE_CHARS_MIN)


async def traces_in(session: AsyncSession, conversation_id: str, owner: Belongings) -> GroupTraces:
    """The person's messages in a group, and what tells others' quotes of them."""
    traces = GroupTraces(names=set(owner.names))
    for _, address in owner.addresses:
        traces.addresses |= {address, address.rpartition(":")[2].lstrip("+")}
    rows = await session.stream_scalars(
        select(models.Inbox).where(models.Inbox.conversation_id == conversation_id)
    )
    async for row in rows:
        address = str(row.sender.get("address", ""))
        if row.identity_id != owner.identity_id and (row.channel, address) not in owner.addresses:
            continue
        traces.rows.append(row)
        traces.events.append((row.channel, row.account, row.event_id))
        traces.texts |= {_plain(row.text), _plain(content_of(row))} - {""}
        traces.names |= {str(row.sender.get(key, "")) for key in ("display_name", "username")}
        traces.message_ids.add(row.message_id)
        traces.said.add(f"inbox:{row.id}")
        if row.turn_id:
            traces.turns.add(row.turn_id)
    traces.names -= {""}
    await _add_schedules(session, conversation_id, owner, traces)
    return traces


async def _add_schedules(
    session: AsyncSession, conversation_id: str, owner: Belongings, traces: GroupTraces
) -> None:
    theirs = models.Schedule.owner_id == owner.identity_id
    rows = await session.scalars(
        select(models.Schedule).where(models.Schedule.conversation_id == conversation_id, theirs)
    )
    for row in rows:
        traces.schedules.append(row.id)
        traces.said.add(f"scheduled:{row.id}")
    times = await session.scalars(
        select(models.Occurrence.id).where(models.Occurrence.schedule_id.in_(traces.schedules))
    )
    traces.said |= {f"schedule:{id}" for id in times}


async def take_out(
    session: AsyncSession, conversation: models.Conversation, traces: GroupTraces
) -> None:
    """Empty their messages, the turns that answered them, and what others quoted of them."""
    ids = {row.id for row in traces.rows}
    traces.files = await _delete_files(session, conversation.id, ids, traces.turns)
    for row in traces.rows:
        _empty(row)
    await _empty_transcript(session, conversation.id, ids, traces)
    await _empty_turns(session, traces.turns)
    said = models.Outbox.dedupe_key.in_(traces.said)
    replaced = models.Outbox.edits_id.in_(select(models.Outbox.id).where(said))
    await _empty_messages(session, or_(said, replaced))
    for table, column in (
        (models.Occurrence, models.Occurrence.schedule_id),
        (models.Schedule, models.Schedule.id),
    ):
        await session.execute(delete(table).where(column.in_(traces.schedules)))
    conversation.payload = ""
    await _empty_quotes(session, conversation.id, ids, traces)
    if conversation.identity_id is not None and any(
        row.identity_id == conversation.identity_id for row in traces.rows
    ):
        conversation.identity_id = None
    for row in traces.rows:
        row.identity_id = None
    await session.flush()


def _empty(row: models.Inbox) -> None:
    row.text, row.payload, row.forwarded_from = GONE, "", ""
    row.sender, row.raw, row.quote, row.attachments = dict(SENDER_GONE), {}, None, []
    if row.state in ("pending", "held"):
        row.state, row.reason_code, row.reason = "dropped", "deleted", "its writer was deleted"


async def _empty_transcript(
    session: AsyncSession, conversation_id: str, ids: set[str], traces: GroupTraces
) -> None:
    """Their messages, the answers to them, and their lines and quotes in messages of others."""
    own_sessions = select(models.Session.id).where(
        models.Session.conversation_id == conversation_id
    )
    entries = await session.stream_scalars(
        select(models.Transcript).where(models.Transcript.session_id.in_(own_sessions))
    )
    async for entry in entries:
        is_theirs = entry.inbox_id in ids
        if is_theirs or (entry.turn_id in traces.turns and entry.role in ("assistant", "tool")):
            entry.content = GONE if entry.content else ""
            entry.quoted, entry.files = None, None
            entry.payload, entry.forwarded_from = "", ""
            entry.tool_calls = [[str(call[0]), str(call[1]), "{}"] for call in entry.tool_calls]
            entry.name = NAME_GONE if is_theirs else entry.name
        if entry.context is not None:
            entry.context = [line for line in entry.context if not _is_line_of(line, traces)]
        entry.quoted = _without(entry.quoted, traces)


async def _empty_turns(session: AsyncSession, turns: set[str]) -> None:
    """What the model and its tools wrote in turns that answered them."""
    in_turns = {"synchronize_session": False}
    for table, column, values in (
        (models.TurnStep, models.TurnStep.turn_id, {"text": ""}),
        (models.ToolCall, models.ToolCall.turn_id, {"arguments": "{}", "result": "", "error": ""}),
        (models.Turn, models.Turn.id, {"error": "", "reply_to": None}),
        (models.RunProgress, models.RunProgress.turn_id, {"text": "", "tools": [], "plan": None}),
        (models.StatusMessageRow, models.StatusMessageRow.turn_id, {"shown": ""}),
    ):
        await session.execute(
            update(table).where(column.in_(turns)).values(**values), execution_options=in_turns
        )
    await _empty_messages(session, models.Outbox.turn_id.in_(turns))


async def _empty_messages(session: AsyncSession, which: ColumnElement[bool]) -> None:
    """The words of messages to the group, and what networks said of them."""
    in_turns = {"synchronize_session": False}
    outbox = select(models.Outbox.id).where(which)
    parts = select(models.Part.id).where(models.Part.outbox_id.in_(outbox))
    gone: dict[str, Any] = {"text": GONE, "reply_to": None, "media": None, "buttons": []}
    await session.execute(
        update(models.Outbox).where(which).values(**gone), execution_options=in_turns
    )
    await session.execute(
        update(models.DeliveryAttempt)
        .where(models.DeliveryAttempt.part_id.in_(parts))
        .values(asked="", description="", concluded=""),
        execution_options=in_turns,
    )
    await session.execute(
        update(models.Part)
        .where(models.Part.outbox_id.in_(outbox))
        .values(rendered={"text": GONE, "entities": []}, evidence=[], error=""),
        execution_options=in_turns,
    )


async def _empty_quotes(
    session: AsyncSession, conversation_id: str, ids: set[str], traces: GroupTraces
) -> None:
    """What messages of others hold of them: quotes, and the provider's own form of these."""
    rows = await session.stream_scalars(
        select(models.Inbox).where(models.Inbox.conversation_id == conversation_id)
    )
    async for row in rows:
        if row.id in ids:
            continue
        row.quote = _without(row.quote, traces)
        if row.raw and _mentions(row.raw, traces):
            row.raw = {}
    entries = await session.stream_scalars(
        select(models.Outbox).where(models.Outbox.conversation_id == conversation_id)
    )
    async for entry in entries:
        if entry.reply_to and _mentions(entry.reply_to, traces):
            entry.reply_to = None


async def _delete_files(
    session: AsyncSession, conversation_id: str, ids: set[str], turns: set[str]
) -> list[str]:
    """Delete the rows of files that came with their messages or were made for them."""
    table = models.Artifact
    found = await session.execute(
        select(table.id, table.inbox_id, table.turn_id).where(
            table.conversation_id == conversation_id
        )
    )
    gone = [id for id, inbox_id, turn_id in found if inbox_id in ids or turn_id in turns]
    await session.execute(delete(table).where(table.id.in_(gone)))
    return gone


def _is_line_of(line: Sequence[Any], traces: GroupTraces) -> bool:
    """Whether a line of a group's context is the person's: [name, text]."""
    return str(line[0]) in traces.names or _plain(str(line[1])) in traces.texts


def _plain(text: str) -> str:
    """The text as it was before marks in it were disarmed, or were by another version."""
    return text.replace(INVISIBLE, "")


def _without(quote: dict[str, Any] | None, traces: GroupTraces) -> dict[str, Any] | None:
    """The quote, empty if it is of the person."""
    if not quote or not (quote.get("ref") in traces.message_ids or _mentions(quote, traces)):
        return quote
    return {**quote, "text": "", "excerpt": "", "resolved": False}


def _mentions(value: Any, traces: GroupTraces) -> bool:
    """Whether a text anywhere in the value is one of the person's, or has a name or address."""
    needles = traces.needles
    return any(
        _plain(text) in traces.texts
        or text in traces.addresses
        or any(needle in text for needle in needles)
        for text in _texts_in(value)
    )


def _texts_in(value: Any) -> Iterator[str]:
    """Every text and number in JSON, as text; depth is bounded where it was accepted."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
        elif one is not None and not isinstance(one, bool):
            yield str(one)
