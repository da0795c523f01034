"""Edited messages: a waiting message is replaced; the agent hears of an edit to an answered one."""

import re
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.inbox.albums import caption_of, head_of, recaption
from roost_platform.db.inbox.arrival import Arrival
from roost_platform.db.turns.transcript import append, attachment_line

EDIT_SHOWN_MAX = 2000  # characters of an edited message told to the agent, before and after
_QUOTATION_MARKS = re.compile("[\u201c-\u201f\xab\xbb]")


async def take_edit_as_message(session: AsyncSession, arrival: Arrival) -> None:
    """Make the edit a message where it is the first to speak to the agent in a group.

    The message itself did not, so the agent passed it over, or the network did not even show it.
    """
    event = arrival.event
    if event.kind != "edited" or event.problem or not (event.is_group and event.is_addressed):
        return
    original = await _original(session, arrival.row)
    if original is not None:
        if original.reason_code != "not_addressed":
            return
        original.state, original.reason_code = "done", "edit_replaced"
        original.reason = "replaced by an edit that speaks to the agent"
    arrival.event, arrival.row.kind = replace(event, kind="message"), "message"


async def edit_held(session: AsyncSession, arrival: Arrival) -> None:
    """Replace the text of a stranger's message that is kept until they are let in; no other."""
    original = await _original(session, arrival.row)
    is_own = original is not None and original.identity_id == arrival.row.identity_id
    if original is not None and is_own and original.state == "held":
        await apply_edit(session, arrival)
    else:
        arrival.conclude("ignored", "not_admitted")


async def apply_edit(session: AsyncSession, arrival: Arrival) -> None:
    """Replace the text of a message that waits, or tell the agent of a message it has seen."""
    row = arrival.row
    original = await _original(session, row)
    if original is None:
        arrival.conclude("ignored", "edit_of_unknown")
        return
    if caption_of(original) == row.text:
        arrival.conclude("done", "edit_unchanged")
        return
    head = await head_of(session, original)
    if head.state in ("pending", "held", "ignored"):
        replaced = f"replaced a message that was {head.state}"
        original.quote = row.quote
        if original is not head:
            original.text = row.text
        recaption(head, original, row.text)
        arrival.conclude("done", "edit_replaced", replaced)
    else:
        await _tell_edit(session, arrival, original, head)


async def _original(session: AsyncSession, row: models.Inbox) -> models.Inbox | None:
    found: models.Inbox | None = await session.scalar(
        select(models.Inbox)
        .where(
            models.Inbox.conversation_id == row.conversation_id,
            models.Inbox.message_id == row.message_id,
            models.Inbox.kind == "message",
        )
        .order_by(models.Inbox.sequence.desc())
        .limit(1)
    )
    return found


async def _tell_edit(
    session: AsyncSession, arrival: Arrival, original: models.Inbox, head: models.Inbox
) -> None:
    """Tell the agent what became of `original`, which it saw as part of `head`."""
    seen = await session.scalar(
        select(models.Transcript)
        .where(models.Transcript.inbox_id == head.id)
        .order_by(models.Transcript.position.desc())
        .limit(1)
    )
    if seen is None or seen.session_id != arrival.conversation.session_id:
        arrival.conclude("done", "edit_unseen")
        return
    row = arrival.row
    last_edit = await session.scalar(
        select(models.Inbox.text)
        .where(
            models.Inbox.conversation_id == row.conversation_id,
            models.Inbox.message_id == row.message_id,
            models.Inbox.kind == "edited",
            models.Inbox.sequence < row.sequence,
        )
        .order_by(models.Inbox.sequence.desc())
        .limit(1)
    )
    before = caption_of(original) if last_edit is None else last_edit
    what = "an earlier message"
    if original.attachments:
        what = f"the words beside {attachment_line(original.attachments[0])}"
    note = models.Transcript(
        turn_id=None,
        role="system",
        content=f"The user edited {what}. Before: {_quoted(before)} Now: {_quoted(row.text)}",
        inbox_id=row.id,
        message_id=row.message_id,
        created_at=arrival.now,
    )
    chat_session = await session.get_one(models.Session, seen.session_id)
    await append(session, chat_session, [note])
    arrival.conclude("done", "edit_told")


def _quoted(text: str) -> str:
    """The text in one line between quotation marks that it can't close itself."""
    short = text if len(text) <= EDIT_SHOWN_MAX else f"{text[:EDIT_SHOWN_MAX]} […]"
    line = _QUOTATION_MARKS.sub('"', "\\n".join(short.splitlines()))
    return f"\u201c{line}\u201d"
