"""The files of a conversation: those that people sent and those that agents made."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models

FILES_SHOWN_MAX = 50


@dataclass(frozen=True, slots=True)
class FileView:
    """One file. state: pending | stored | failed | expired, with the reason; size in bytes.

    is_ours: an agent made it. name: empty for those who may not read texts.
    """

    id: str
    name: str
    kind: str
    size: int | None
    state: str
    reason: str
    at: float
    is_ours: bool


async def files_of(
    session: AsyncSession, conversation_id: str, *, with_texts: bool
) -> tuple[FileView, ...]:
    """The newest files, newest first."""
    rows = await session.scalars(
        select(models.Artifact)
        .where(models.Artifact.conversation_id == conversation_id)
        .order_by(models.Artifact.created_at.desc(), models.Artifact.id)
        .limit(FILES_SHOWN_MAX)
    )
    return tuple(_view(row, with_texts) for row in rows)


async def file_of(session: AsyncSession, conversation_id: str, artifact_id: str) -> FileView | None:
    """A file by its id; None if this conversation does not have it."""
    row = await session.get(models.Artifact, artifact_id)
    if row is None or row.conversation_id != conversation_id:
        return None
    return _view(row, with_texts=True)


def _view(row: models.Artifact, with_texts: bool) -> FileView:
    return FileView(
        row.id,
        row.name if with_texts else "",
        row.kind or "file",
        row.size,
        row.state,
        row.reason,
        row.created_at,
        row.inbox_id is None,
    )
