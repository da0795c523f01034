"""Bytes of artifacts in the data folder, and long texts that are kept whole as such a file."""

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Final
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.message_files import new_artifact_id

_FOLDER: Final = "files"
TEXT_TYPE: Final = "text/plain"


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
