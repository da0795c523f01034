"""Edited messages: a waiting message is replaced; the agent hears of an edit to an answered one."""

import re

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.inbox.arrival import Arrival
from roost_platform.db.turns.transcript import append

EDIT_SHOWN_MAX = 2000  # characters of an edited message told to the agent, before and after
_QUOTATION_MARKS = re.compile("[\u201c-\u201f\xab\xbb]")


async def edit_held(session: AsyncSession, arrival: Arrival) -> None:
    """Replace the text of a stranger's message that is kept until they are let in; no other."""
    original = await _original(session, arrival.row)
    is_own = original is not None and original.identity_id == arrival.row.identity_id
    if original is not None and is_own and original.state == "held":
        await apply_edit(session, arrival)
    else:
        arrival.conclude("ignored", "not_admitted")


async def _original(session: AsyncSession, row: models.Inbox) -> models.Inbox | None:
    original: models.Inbox | None = await session.scalar(
        select(models.Inbox)
        .where(
            models.Inbox.conversation_id == row.conversation_id,
            models.Inbox.message_id == row.message_id,
            models.Inbox.kind == "message",
        )
        .order_by(models.Inbox.sequence.desc())
        .limit(1)
    )
    return original


async def apply_edit(session: AsyncSession, arrival: Arrival) -> None:
    """Replace the text of a message that waits, or tell the agent of a message it has seen."""
    row = arrival.row
    original = await _original(session, row)
    if original is None:
        arrival.conclude("ignored", "edit_of_unknown")
    elif original.text == row.text:
        arrival.conclude("done", "edit_unchanged")
    elif original.state in ("pending", "held", "ignored"):
        original.text, original.quote = row.text, row.quote
        replaced = f"replaced a message that was {original.state}"
        arrival.conclude("done", "edit_replaced", replaced)
    else:
        await _tell_edit(session, arrival, original)


async def _tell_edit(session: AsyncSession, arrival: Arrival, original: models.Inbox) -> None:
    seen = await session.scalar(
        select(models.Transcript)
        .where(models.Transcript.inbox_id == original.id)
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
    before = original.text if last_edit is None else last_edit
    note = models.Transcript(
        turn_id=None,
        role="system",
        content=f"The user edited an earlier message. Before: {_quoted(before)} Now: "
        f"{_quoted(row.text)}",
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
