"""Albums: the pictures of one album arrive as single messages and become one message again."""

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.reasons import WORDS


async def join_album(session: AsyncSession, row: models.Inbox) -> None:
    """Make the parts of the row's album one message, with all attachments and all captions.

    The part that waits already takes the new one in. In groups only the part with the caption
    addresses the agent: it takes in the parts that came before it.
    """
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
    if head is None:
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
    own, row.attachments = row.attachments, []
    for part in earlier.all():
        await _merge(session, row, part)
    row.attachments = [*row.attachments, *own]


async def _merge(session: AsyncSession, head: models.Inbox, part: models.Inbox) -> None:
    head.attachments = [*head.attachments, *part.attachments]
    captions = [text for text in (head.text, part.text) if text]
    head.forwarded_from = head.forwarded_from or part.forwarded_from
    head.payload = head.payload or part.payload
    head.text, head.quote = "\n".join(captions), head.quote or part.quote
    part.state, part.reason_code, part.reason = "done", "in_album", WORDS["in_album"]
    await session.flush()
    await session.execute(
        update(models.Artifact)
        .where(models.Artifact.inbox_id == part.id)
        .values(inbox_id=head.id)
        .execution_options(synchronize_session=False)
    )
