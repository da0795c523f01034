"""The files of a quoted message: named where we have them, else fetched with the new message."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.names import plain_name
from roost_platform.db import models
from roost_platform.db.artifacts import ACCEPTED
from roost_platform.db.inbox.arrival import Arrival
from roost_platform.db.message_files import artifact_row, new_artifact_id
from roost_platform.db.turns.transcript import attachment_line

QUOTED_FILES_MAX = 10  # files of one quoted message


async def name_quoted_files(session: AsyncSession, arrival: Arrival) -> None:
    """Put the ids of the quoted files into the row's quote.

    Files that the conversation does not have become artifacts of this row and are fetched with it.
    """
    row, quote = arrival.row, arrival.event.quote
    if quote is None or row.quote is None:
        return
    files = [replace(file, name=plain_name(file.name)) for file in quote.files[:QUOTED_FILES_MAX]]
    named = await _known_files(session, row, quote.ref)
    if not named:
        for number, file in enumerate(files):
            fetched = replace(file, artifact_id=new_artifact_id())
            origin = f"inbox:{row.id}:quoted:{number}"
            session.add(artifact_row(row, fetched, origin, arrival.now))
            named.append(asdict(fetched))
    lines = [attachment_line(each) for each in named]
    bare = " ".join(attachment_line(asdict(replace(file, artifact_id=""))) for file in files)
    words = dict(row.quote)
    for field in ("text", "excerpt"):
        said = str(words[field])
        # A quote without words of its own is the names of its files.
        words[field] = "\n".join(lines if said in ("", bare) else [*lines, said])
    row.quote = {**words, "resolved": True}


async def _known_files(
    session: AsyncSession, row: models.Inbox, message_id: str | None
) -> list[Mapping[str, Any]]:
    """The files of an earlier message of this conversation that are stored or on their way."""
    if message_id is None:
        return []
    attachments = await session.scalars(
        select(models.Inbox.attachments)
        .where(
            models.Inbox.conversation_id == row.conversation_id,
            models.Inbox.message_id == message_id,
            models.Inbox.id != row.id,
        )
        .order_by(models.Inbox.sequence.desc())
    )
    for listed in attachments:
        ids = [str(each["artifact_id"]) for each in listed if each.get("artifact_id")]
        usable = await session.scalars(
            select(models.Artifact.id)
            .join(models.Inbox, models.Inbox.id == models.Artifact.inbox_id)
            .where(
                models.Artifact.id.in_(ids),
                or_(
                    models.Artifact.state == "stored",
                    (models.Artifact.state == "pending") & models.Inbox.state.in_(ACCEPTED),
                ),
            )
        )
        found = set(usable)
        if found:
            return [each for each in listed if each.get("artifact_id") in found]
    return []
