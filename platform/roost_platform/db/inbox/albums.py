"""Albums: the pictures of one album arrive as single messages and become one message again."""

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.reasons import REFUSED, WORDS
from roost_platform.db.turns.transcript import CAPTION

# In the attachments of an album: the id of the message that each came in.
OF_MESSAGE = "message"


async def join_album(session: AsyncSession, row: models.Inbox) -> None:
    """Make the parts of the row's album one message, with all attachments and all captions.

    The part that waits already takes the new one in. In groups only the part with the caption
    addresses the agent: it takes in the parts that came before it. A part whose writer may not talk
    here joins nothing.
    """
    if row.reason_code in REFUSED:
        return
    if not await _join_waiting(session, row) and row.state in ("pending", "held"):
        await _take_earlier(session, row)


async def _join_waiting(session: AsyncSession, row: models.Inbox) -> bool:
    """Add the row to the part of its album that waits; False if none does."""
    head = await session.scalar(
        select(models.Inbox)
        .where(
            models.Inbox.conversation_id == row.conversation_id,
            models.Inbox.album == row.album,
            models.Inbox.state.in_(("pending", "held")),
            models.Inbox.id != row.id,
        )
        .order_by(models.Inbox.sequence)
        .limit(1)
    )
    if head is None or head.sender.get("address") != row.sender.get("address"):
        return False
    await _merge(session, head, row)
    return True


async def _take_earlier(session: AsyncSession, row: models.Inbox) -> None:
    earlier = await session.scalars(
        select(models.Inbox)
        .where(
            models.Inbox.conversation_id == row.conversation_id,
            models.Inbox.album == row.album,
            models.Inbox.state == "ignored",
            models.Inbox.reason_code == "not_addressed",
            models.Inbox.id != row.id,
        )
        .order_by(models.Inbox.sequence)
    )
    own, row.attachments = _own_attachments(row), []
    captions = [row.text] if row.text else []
    row.text = ""
    for part in earlier.all():
        await _merge(session, row, part)
    row.attachments = [*row.attachments, *own]
    row.text = "\n".join(filter(None, (row.text, *captions)))


async def _merge(session: AsyncSession, head: models.Inbox, part: models.Inbox) -> None:
    head.attachments = [*_own_attachments(head), *_own_attachments(part)]
    head.forwarded_from = head.forwarded_from or part.forwarded_from
    head.payload = head.payload or part.payload
    captions = [text for text in (head.text, part.text) if text]
    head.text, head.quote = "\n".join(captions), head.quote or part.quote
    part.state, part.reason_code, part.reason = "done", "in_album", WORDS["in_album"]
    await session.flush()
    await session.execute(
        update(models.Artifact)
        .where(models.Artifact.inbox_id == part.id)
        .values(inbox_id=head.id)
        .execution_options(synchronize_session=False)
    )


def _own_attachments(row: models.Inbox) -> list[Any]:
    """The row's attachments, each with the message it came in; the first keeps the caption."""
    if not row.attachments or OF_MESSAGE in row.attachments[0]:
        return list(row.attachments)
    first, *others = [{**each, OF_MESSAGE: row.message_id} for each in row.attachments]
    return [{**first, CAPTION: row.text}, *others]


async def head_of(session: AsyncSession, part: models.Inbox) -> models.Inbox:
    """The message that took in this part of an album; itself where none did."""
    if part.reason_code != "in_album":
        return part
    head: models.Inbox | None = await session.scalar(
        select(models.Inbox)
        .where(
            models.Inbox.conversation_id == part.conversation_id,
            models.Inbox.album == part.album,
            models.Inbox.kind == "message",
            models.Inbox.reason_code != "in_album",
        )
        .order_by(models.Inbox.sequence)
        .limit(1)
    )
    return head or part


def caption_of(part: models.Inbox) -> str:
    """A message's own words, without the captions of an album that it took in."""
    first = part.attachments[0] if part.attachments else {}
    is_own = first.get(OF_MESSAGE) == part.message_id
    return str(first[CAPTION]) if is_own and CAPTION in first else part.text


def recaption(head: models.Inbox, part: models.Inbox, text: str) -> None:
    """Give a part of an album that waits another caption."""
    of_part = [each.get(OF_MESSAGE) == part.message_id for each in head.attachments]
    if True not in of_part:
        head.text = text
        return
    attachments = list(head.attachments)
    first = of_part.index(True)
    attachments[first] = {**attachments[first], CAPTION: text}
    head.attachments = attachments
    head.text = "\n".join(filter(None, (each.get(CAPTION) for each in attachments)))
