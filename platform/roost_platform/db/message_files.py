"""The files of messages as artifacts: what came in with one, and what an answer takes along."""

import secrets
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, cast

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import Attachment, Media, MediaKind
from roost_platform.db import models
from roost_platform.db.base.text import clean

# Without vowels an id is never a word; without look-alikes it is easy to repeat.
ID_ALPHABET = "bcdfghjkmnpqrstvwxz23456789"
ID_LENGTH = 10
NAME_MAX = 200  # characters of a file's name


def new_artifact_id() -> str:
    """A random id that people can repeat."""
    return "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_LENGTH))


async def register(
    session: AsyncSession, row: models.Inbox, attachments: Sequence[Attachment], now: float
) -> None:
    """Make an artifact of every file of an accepted message, to be fetched by the courier."""
    named: list[dict[str, Any]] = []
    for number, attachment in enumerate(attachments):
        if attachment.is_file:
            attachment = replace(attachment, artifact_id=new_artifact_id())
            session.add(artifact_row(row, attachment, f"inbox:{row.id}:{number}", now))
        named.append(clean(asdict(attachment)))
    row.attachments = named


def artifact_row(
    row: models.Inbox, attachment: Attachment, origin: str, now: float
) -> models.Artifact:
    """A file that comes with a message and is still to be fetched."""
    return models.Artifact(
        id=attachment.artifact_id,
        conversation_id=row.conversation_id,
        inbox_id=row.id,
        origin=origin,
        channel=row.channel,
        account=row.account,
        kind=attachment.kind,
        name=clean(attachment.name)[:NAME_MAX],
        mime_type=clean(attachment.mime_type),
        size=attachment.size,
        provider_id=clean(attachment.provider_id),
        url=clean(attachment.url),
        state="pending",
        next_at=now,
        created_at=now,
    )


async def media_of(session: AsyncSession, turn_id: str) -> list[Media]:
    """The files that go with the turn's answer, in the order they were attached."""
    return [
        Media(row.id, media_kind(row.kind, row.mime_type), row.name, row.mime_type, row.size or 0)
        for row in await attached(session, turn_id)
    ]


def media_kind(kind: str, mime_type: str) -> MediaKind:
    """How people are to see a file: by what it came as, else by its type."""
    if kind in ("photo", "voice", "audio", "video", "document"):
        return cast(MediaKind, kind)
    if mime_type in ("image/jpeg", "image/png", "image/webp"):
        return "photo"
    family = mime_type.partition("/")[0]
    return cast(MediaKind, family) if family in ("audio", "video") else "document"


async def attached(session: AsyncSession, turn_id: str) -> Sequence[models.Artifact]:
    """The artifacts that go with the turn's answer, in order."""
    rows = await session.scalars(
        select(models.Artifact)
        .where(models.Artifact.turn_id == turn_id, models.Artifact.attached.is_not(None))
        .order_by(models.Artifact.attached)
    )
    return rows.all()
