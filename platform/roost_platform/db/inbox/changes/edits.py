"""Edited messages: a waiting message is replaced; the agent hears of an edit to an answered one."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import Attachment
from roost_platform.db import models
from roost_platform.db.base.text import clean
from roost_platform.db.enqueue import enqueue
from roost_platform.db.inbox.albums import OF_MESSAGE, caption_of, head_of, recaption
from roost_platform.db.inbox.arrival import Arrival
from roost_platform.db.inbox.changes.originals import (
    is_by_same,
    original_of,
    read_as,
    short_quote,
    tell_agent,
)
from roost_platform.db.locks import OPEN_STATES
from roost_platform.db.reply_targets import reply_target
from roost_platform.db.turns.transcript import CAPTION, attachment_line
from roost_platform.db.waits.answering import open_in

TOO_LATE: Final = "I go on with what you wrote first: the edit came too late."
TOO_LATE_KEY: Final = "edit-too-late"
_EARLY = (
    select(models.Inbox)
    .where(
        models.Inbox.conversation_id == bindparam("conversation_id"),
        models.Inbox.message_id == bindparam("message_id"),
        models.Inbox.reason_code.in_(("edit_of_unknown", "revoked_unknown")),
    )
    .order_by(models.Inbox.sent_at.desc(), models.Inbox.sequence.desc())
    .limit(1)
)


async def take_early(session: AsyncSession, arrival: Arrival) -> bool:
    """Give a message the words of its edit where that came first: webhooks have no order.

    True for one that its writer had deleted before it came; that is over.
    """
    event, row = arrival.event, arrival.row
    if event.kind != "message" or event.problem or not event.message_id:
        return False
    where = {"conversation_id": row.conversation_id, "message_id": event.message_id}
    early = await session.scalar(_EARLY, where)
    if early is None or early.sent_at < event.sent_at or not is_by_same(early, row):
        return False
    is_deleted = early.kind == "revoked"
    early.state, early.reason_code = "done", "" if is_deleted else "edit_replaced"
    early.reason = "came before its message"
    if is_deleted:
        arrival.conclude("dropped", "revoked")
    else:
        arrival.event, row.text = replace(event, text=early.text), early.text
    return is_deleted


async def take_edit_as_message(session: AsyncSession, arrival: Arrival) -> None:
    """Make the edit a message where it is the first to speak to the agent in a group, or mends an
    answer that did not count, and that is asked for again.

    The message itself did not, so the agent passed it over, or the network did not even show it.
    """
    event = arrival.event
    if event.kind != "edited" or event.problem or not event.is_addressed:
        return
    original = await original_of(session, arrival.row)
    if original is None and not event.is_group:
        return
    if original is not None:
        why = await _why_taken(session, original, arrival)
        if not why or not is_by_same(original, arrival.row):
            return
        original.state, original.reason_code, original.reason = "done", "edit_replaced", why
    arrival.event, arrival.row.kind = replace(event, kind="message"), "message"


async def _why_taken(session: AsyncSession, original: models.Inbox, arrival: Arrival) -> str:
    """Why the edit takes the place of a message that was not for the agent; empty if it doesn't."""
    if original.reason_code == "no_answer":
        questions = await open_in(session, original.conversation_id)
        is_asked = any(one.kind != "approve" for one in questions)
        return "replaced by an edit that answers" if is_asked else ""
    if original.reason_code == "not_addressed" and arrival.event.is_group:
        return "replaced by an edit that speaks to the agent"
    return ""


async def edit_held(session: AsyncSession, arrival: Arrival) -> None:
    """Replace the text of a stranger's message that is kept until they are let in; no other."""
    original = await original_of(session, arrival.row)
    is_own = original is not None and original.identity_id == arrival.row.identity_id
    if original is not None and is_own and original.state == "held":
        await apply_edit(session, arrival)
    else:
        arrival.conclude("ignored", "not_admitted")


async def apply_edit(session: AsyncSession, arrival: Arrival) -> None:
    """Replace the text of a message that waits, or tell the agent of a message it has seen."""
    row = arrival.row
    original = await original_of(session, row)
    if original is None:
        arrival.conclude("ignored", "edit_of_unknown")
        return
    if arrival.event.is_group and not is_by_same(original, row):
        arrival.conclude("ignored", "edit_of_other")
        return
    last = await _last_edit(session, row)
    if last is not None and row.sent_at < last.sent_at:  # webhooks have no order
        arrival.conclude("done", "edit_overtaken")
        return
    head = await head_of(session, original)
    is_waiting = head.state in ("pending", "held", "ignored")
    known = original if is_waiting else last or original
    has_other_files = _contents(known) != _contents(row, arrival.event.attachments)
    if caption_of(known) == row.text and not has_other_files:
        arrival.conclude("done", "edit_unchanged")
        return
    arrival.edited = head if has_other_files else None
    if is_waiting:
        replaced = f"replaced a message that was {head.state}"
        original.quote = row.quote
        if original is not head:
            original.text = row.text
        recaption(head, original, row.text)
        arrival.conclude("done", "edit_replaced", replaced)
    else:
        await _tell_edit(session, arrival, known, original, head)


async def replace_contents(session: AsyncSession, arrival: Arrival) -> None:
    """What came with an edit takes the place of what came before: another file, or a place that
    moves. The edit's own files are registered.
    """
    head, row = arrival.edited, arrival.row
    if head is None:
        return
    if arrival.edit_note is not None:
        lines = " ".join(attachment_line(each) for each in row.attachments) or "nothing beside it"
        arrival.edit_note.content += f" It now has {lines}."
    elif row.reason_code == "edit_replaced":
        others = [each for each in head.attachments if each.get(OF_MESSAGE, "") != row.message_id]
        if len(others) == len(head.attachments):  # no album
            head.attachments = list(row.attachments)
        else:
            marks = {OF_MESSAGE: row.message_id, CAPTION: row.text}
            new = [{**each, **marks} for each in row.attachments[:1]]
            new += [{**each, OF_MESSAGE: row.message_id} for each in row.attachments[1:]]
            head.attachments = [*others, *new]
        await session.flush()
        await session.execute(
            update(models.Artifact)
            .where(models.Artifact.inbox_id == row.id)
            .values(inbox_id=head.id)
            .execution_options(synchronize_session=False)
        )


def _contents(row: models.Inbox, attachments: Sequence[Attachment] = ()) -> list[Any]:
    """What came with a message, or with an event that is not stored yet, to be compared."""
    listed = [clean(asdict(one)) for one in attachments] or row.attachments
    own = [one for one in listed if one.get(OF_MESSAGE, row.message_id) == row.message_id]
    return [(one["kind"], one.get("provider_id") or one.get("name")) for one in own]


async def _tell_edit(
    session: AsyncSession,
    arrival: Arrival,
    known: models.Inbox,
    original: models.Inbox,
    head: models.Inbox,
) -> None:
    """Tell the agent what became of a message, which it saw as part of `head`.

    known: the message, or its edit of which the agent heard last.
    """
    seen = await read_as(session, head)
    session_id = await _session_of_answer(session, head) if seen is None else seen.session_id
    row, before = arrival.row, caption_of(known)
    if before != row.text:
        await _tell_too_late(session, arrival, original, head.turn_id)
    if session_id is None or session_id != arrival.conversation.session_id:
        arrival.conclude("done", "edit_unseen")
        return
    what = "their answer to a question" if seen is None else "an earlier message"
    if known.attachments and before != row.text:
        what = f"the words beside {attachment_line(known.attachments[0])}"
    content = f"The user edited {what}."
    if before != row.text:
        content = f"{content} Before: {short_quote(before)} Now: {short_quote(row.text)}"
    note = None
    if before == row.text and known is not original:
        earlier = await _last_edit(session, known) or original
        if caption_of(earlier) == before:
            note = await _note_at_end(session, session_id, known)
    if note is None:
        note = await tell_agent(session, arrival, session_id, content)
    note.content, note.inbox_id = content, row.id
    arrival.edit_note = note
    arrival.conclude("done", "edit_told")


async def _session_of_answer(session: AsyncSession, row: models.Inbox) -> str | None:
    """The session of the turn that took the message as an answer or a decision; None for none, and
    for a flow, which reads no transcript.
    """
    turn = await session.get(models.Turn, row.turn_id) if row.turn_id else None
    if turn is None or row.reason_code or await session.get(models.FlowRun, turn.id) is not None:
        return None
    return turn.session_id


async def _tell_too_late(
    session: AsyncSession, arrival: Arrival, original: models.Inbox, turn_id: str | None
) -> None:
    """Tell the writer once that a flow goes on with the words as they were, unless it has ended."""
    turn = await session.get(models.Turn, turn_id) if turn_id and not original.reason_code else None
    flow = None if turn is None else await session.get(models.FlowRun, turn.id)
    if turn is None or flow is None or turn.state not in OPEN_STATES:
        return
    await enqueue(
        session,
        arrival.conversation,
        kind="notice",
        body=TOO_LATE,
        dedupe_key=f"{TOO_LATE_KEY}:{original.id}",
        now=arrival.now,
        reply_to=await reply_target(session, original),
    )


async def _note_at_end(
    session: AsyncSession, session_id: str, edit: models.Inbox
) -> models.Transcript | None:
    """The note of an edit where nothing was said since: a place that moves all day is one note."""
    last: models.Transcript | None = await session.scalar(
        select(models.Transcript)
        .where(models.Transcript.session_id == session_id)
        .order_by(models.Transcript.position.desc())
        .limit(1)
    )
    return last if last is not None and last.inbox_id == edit.id else None


async def _last_edit(session: AsyncSession, row: models.Inbox) -> models.Inbox | None:
    """The edit of the message of which the agent heard last."""
    found: models.Inbox | None = await session.scalar(
        select(models.Inbox)
        .where(
            models.Inbox.conversation_id == row.conversation_id,
            models.Inbox.message_id == row.message_id,
            models.Inbox.kind == "edited",
            models.Inbox.reason_code.in_(("edit_told", "edit_replaced")),
            models.Inbox.sequence < row.sequence,
        )
        .order_by(models.Inbox.sequence.desc())
        .limit(1)
    )
    return found
