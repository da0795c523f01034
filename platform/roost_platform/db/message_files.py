"""Files as artifacts: what came in with a message, what an answer takes along, long texts that are
kept whole; and where their bytes are.
"""

import asyncio
import hashlib
import os
import secrets
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, cast
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import Attachment, Media, MediaKind
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.base.text import clean

# Without vowels an id is never a word; without look-alikes it is easy to repeat.
ID_ALPHABET = "bcdfghjkmnpqrstvwxz23456789"
ID_LENGTH = 10
NAME_MAX = 200  # characters of a file's name
_FOLDER: Final = "files"
TEXT_TYPE: Final = "text/plain"


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


def set_folder(database: Database, folder: Path | None) -> None:
    """Let the transactions of a database keep texts as files in the folder; None for none."""
    database.session_info[_FOLDER] = folder


def path_of(folder: Path, artifact_id: str) -> Path:
    """Where an artifact's bytes are: in one of many folders, named by the end of the id."""
    return folder / artifact_id[-2:] / artifact_id


def write(path: Path, data: bytes) -> str:
    """Write a file whole or not at all; returns its SHA-256 in hex."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    with part.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    return hashlib.sha256(data).hexdigest()


async def keep_text(
    session: AsyncSession,
    conversation: models.Conversation,
    *,
    turn_id: str,
    origin: str,
    name: str,
    text: str,
    now: float,
) -> str:
    """Keep a text as a file of the conversation, once by origin; its id, empty without a folder.

    The bytes are written before the transaction commits, so that no row is without them.
    """
    folder: Path | None = session.info.get(_FOLDER)
    if folder is None:
        return ""
    known = await session.scalar(
        select(models.Artifact.id).where(
            models.Artifact.conversation_id == conversation.id, models.Artifact.origin == origin
        )
    )
    if known is not None:
        return known
    artifact_id, data = new_artifact_id(), text.encode()
    digest = await asyncio.to_thread(write, path_of(folder, artifact_id), data)
    session.add(
        models.Artifact(
            id=artifact_id,
            conversation_id=conversation.id,
            turn_id=turn_id,
            origin=origin,
            channel=conversation.channel,
            account=conversation.account,
            kind="document",
            name=name,
            mime_type=TEXT_TYPE,
            size=len(data),
            sha256=digest,
            state="stored",
            next_at=now,
            created_at=now,
            stored_at=now,
        )
    )
    return artifact_id
