"""Finds the message that a quote refers to: an inbound one, a part of ours or a status message."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import Author, Quote
from roost_platform.db import models
from roost_platform.db.conversations.homes import is_chat
from roost_platform.db.outbox.part_states import parts_of
from roost_platform.db.turns.transcript import attachment_line, content_of


async def find_quote(
    session: AsyncSession, channel: str, account: str, chat: str, ref: str
) -> Quote | None:
    """A message of this chat as a quote: inbound, one of our parts, or a status message."""
    here = is_chat(channel, account, chat)
    inbound = await session.scalar(
        select(models.Inbox)
        .join(models.Conversation, models.Conversation.id == models.Inbox.conversation_id)
        .where(
            here,
            models.Inbox.message_id == ref,
            or_(models.Inbox.kind == "message", models.Inbox.kind == "edited"),
        )
        .order_by(models.Inbox.sequence.desc())
        .limit(1)
    )
    if inbound is not None:
        text = content_of(inbound) if inbound.attachments else inbound.text
        is_forward = bool(inbound.forwarded_from)
        author: Author = "other" if is_forward else "user"
        return Quote(ref=ref, author=author, text=text, excerpt=text, utf16_start=0)
    part = await session.scalar(
        select(models.Part)
        .join(models.Conversation, models.Conversation.id == models.Part.conversation_id)
        .where(here, models.Part.message_id == ref)
        .limit(1)
    )
    if part is not None:
        return await _part_quote(session, part, ref)
    status = await session.scalar(
        select(models.StatusMessageRow.shown)
        .join(
            models.Conversation, models.Conversation.id == models.StatusMessageRow.conversation_id
        )
        .where(here, models.StatusMessageRow.message_id == ref)
        .limit(1)
    )
    if status is None:
        return None
    return Quote(ref=ref, author="bot", text=status, excerpt=status, utf16_start=0)


async def _part_quote(session: AsyncSession, part: models.Part, ref: str) -> Quote:
    """The whole logical message, and the passage or the file that this part carried."""
    words = [_words(row.rendered) for row in await parts_of(session, part.outbox_id)]
    before = "".join(words[: part.position])
    return Quote(
        ref=ref,
        author="bot",
        text="".join(words),
        excerpt=words[part.position],
        utf16_start=len(before.encode("utf-16-le")) // 2,
    )


def _words(rendered: Mapping[str, Any]) -> str:
    """The text of a part as people see it: the name of a file, and its caption."""
    media = rendered.get("media")
    name = attachment_line(media) if media else ""
    return " ".join(filter(None, (name, str(rendered["text"]))))
