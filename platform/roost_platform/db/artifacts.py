"""Files that people send and agents make: rows in the database, bytes in the data folder."""

import asyncio
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from sqlalchemy import bindparam, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost.messages import MessageFile
from roost_channels.errors import Rejected
from roost_channels.files import FileFetch, StoredFile
from roost_channels.message import Attachment
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.base.text import clean
from roost_platform.db.enqueue import enqueue
from roost_platform.db.locks import get_turn, lock_conversation, lock_turn
from roost_platform.db.message_files import (
    ID_ALPHABET,
    NAME_MAX,
    attached,
    new_artifact_id,
    path_of,
    write,
)
from roost_platform.db.reply_targets import reply_target
from roost_platform.errors import NotAllowed, NotFound
from roost_workflows.storage.tools import Artifact

log = logging.getLogger(__name__)

ATTACHED_MAX = 10  # files that one answer carries
EXPIRED_MAX = 500  # files deleted by one sweep
# With less room than this no file of people is fetched: one person could fill the disk, and then
# nobody's message can be stored.
DISK_FREE_BYTES_MIN = 256 * 2**20
ACCEPTED = ("pending", "taken", "done")  # files of other messages are not fetched

_DUE = (
    select(models.Artifact)
    .join(models.Inbox, models.Inbox.id == models.Artifact.inbox_id)
    .where(
        models.Artifact.state == "pending",
        models.Artifact.next_at <= bindparam("now"),
        tuple_(models.Artifact.channel, models.Artifact.account).in_(
            bindparam("accounts", expanding=True)
        ),
        models.Inbox.state.in_(ACCEPTED),
    )
    .order_by(models.Artifact.next_at)
    .limit(bindparam("most"))
)


class ArtifactStore:
    """Implements `roost_channels.files.ChannelFiles` and `storage.tools.Artifacts`."""

    def __init__(self, database: Database, folder: Path | None) -> None:
        self._database = database
        self._folder = folder

    async def wait(self, timeout_s: float) -> None:
        """Return at the next commit, at the latest after `timeout_s`."""
        await self._database.changed(timeout_s)

    async def fetches(
        self, channels: Sequence[tuple[str, str]], now: float, limit: int
    ) -> Sequence[FileFetch]:
        """Files of these accounts that are to be fetched now, the longest due first; none while the
        disk is nearly full.
        """
        values = {"accounts": list(channels), "now": now, "most": limit}
        async with self._database.read() as session:
            due = [_fetch_of(row) for row in await session.scalars(_DUE, values)]
        if not due or self._folder is None:
            return due
        if await asyncio.to_thread(_is_nearly_full, self._folder):
            log.warning("files of people wait: less than %d bytes are free", DISK_FREE_BYTES_MIN)
            return []
        return due

    async def fetched(self, artifact_id: str, data: bytes) -> None:
        """Store the bytes of a file that was fetched."""
        digest = await asyncio.to_thread(write, self.path(artifact_id), data)
        async with self._database.write() as session:
            row = await session.get(models.Artifact, artifact_id)
            if row is not None and row.state == "pending":
                row.state, row.reason, row.stored_at = "stored", "", self._database.now()
                row.size, row.sha256 = len(data), digest

    async def not_fetched(
        self, artifact_id: str, reason: str, *, retry_at: float | None = None, told: str = ""
    ) -> None:
        """Record why a fetch failed; without `retry_at` the file has failed for good, and `told`
        goes to the chat it came from.
        """
        async with self._database.write() as session:
            row = await session.get(models.Artifact, artifact_id)
            if row is None or row.state != "pending":
                return
            if told:  # first, because it locks the conversation
                await _tell(session, row, told, self._database.now())
            row.reason, row.attempts = clean(reason), row.attempts + 1
            if retry_at is None:
                row.state = "failed"
            else:
                row.next_at = retry_at

    async def get(self, turn_id: str, artifact_id: str) -> Artifact | None:
        """An artifact of the turn's conversation; None if it has none of this id."""
        async with self._database.read() as session:
            row = await self._of_turn(session, turn_id, artifact_id)
            return None if row is None else _artifact_of(row)

    async def load(self, turn_id: str, artifact_id: str) -> bytes:
        """The bytes of an artifact of the turn's conversation; raises NotFound."""
        async with self._database.read() as session:
            row = await self._of_turn(session, turn_id, artifact_id)
        if row is None:
            raise NotFound(f"No artifact {artifact_id} in this conversation.")
        return await self.read(row.id)

    async def add(
        self, turn_id: str, key: str, data: bytes, *, kind: str, name: str, mime_type: str
    ) -> Artifact:
        """Store a file that an agent made; the same `key` gives the same artifact again."""
        async with self._database.read() as session:
            known = await self._made_by(session, turn_id, key)
        if known is not None:
            return _artifact_of(known)
        artifact_id = new_artifact_id()
        digest = await asyncio.to_thread(write, self.path(artifact_id), data)
        async with self._database.write() as session:
            turn = await get_turn(session, turn_id)
            conversation = await session.get_one(models.Conversation, turn.conversation_id)
            known = await self._made_by(session, turn_id, key)
            if known is None:
                now = self._database.now()
                known = models.Artifact(
                    id=artifact_id,
                    conversation_id=turn.conversation_id,
                    turn_id=turn_id,
                    origin=key,
                    channel=conversation.channel,
                    account=conversation.account,
                    kind=kind,
                    name=clean(name)[:NAME_MAX],
                    mime_type=clean(mime_type),
                    size=len(data),
                    sha256=digest,
                    state="stored",
                    next_at=now,
                    created_at=now,
                    stored_at=now,
                )
                session.add(known)
            return _artifact_of(known)

    async def attach(self, turn_id: str, artifact_id: str) -> None:
        """Send the artifact with the turn's answer; raises NotFound, or NotAllowed beyond the
        bound.
        """
        async with self._database.write() as session:
            row = await self._of_turn(session, turn_id, artifact_id)
            if row is None or row.state != "stored":
                raise NotFound(f"No stored artifact {artifact_id} in this conversation.")
            others = await attached(session, turn_id)
            if any(one.id == artifact_id for one in others):
                return
            if len(others) >= ATTACHED_MAX:
                raise NotAllowed(f"An answer carries at most {ATTACHED_MAX} files.")
            row.turn_id, row.attached = turn_id, len(others)

    async def keep_reading(self, turn_id: str, message_id: str, file: MessageFile) -> None:
        """See `storage.tools.Artifacts.keep_reading`; raises NotFound, and TurnOver."""
        async with self._database.write() as session:
            turn, _ = await lock_turn(session, turn_id)
            row = await session.get(models.Transcript, message_id)
            if row is None or row.session_id != turn.session_id:
                raise NotFound(f"No message {message_id} in this session.")
            row.files = [
                clean(asdict(file)) if one["id"] == file.id and one["state"] == "unread" else one
                for one in row.files or ()
            ]

    async def _of_turn(
        self, session: AsyncSession, turn_id: str, artifact_id: str
    ) -> models.Artifact | None:
        """The artifact if the turn's conversation has it; None for one of another conversation."""
        turn = await get_turn(session, turn_id)
        row = await session.get(models.Artifact, artifact_id)
        return row if row is not None and row.conversation_id == turn.conversation_id else None

    async def _made_by(
        self, session: AsyncSession, turn_id: str, key: str
    ) -> models.Artifact | None:
        turn = await get_turn(session, turn_id)
        return await session.scalar(
            select(models.Artifact).where(
                models.Artifact.conversation_id == turn.conversation_id,
                models.Artifact.origin == key,
            )
        )

    async def read(self, artifact_id: str) -> bytes:
        """The bytes of an artifact; raises Rejected when the file is gone."""
        try:
            return await asyncio.to_thread(self.path(artifact_id).read_bytes)
        except FileNotFoundError:
            raise Rejected(f"the file of artifact {artifact_id} is gone") from None

    def path(self, artifact_id: str) -> Path:
        """Where the bytes are; raises NotFound for what is no id, NotAllowed without a folder."""
        if self._folder is None:
            raise NotAllowed("No folder for files is set.")
        if not artifact_id or not set(artifact_id) <= set(ID_ALPHABET):
            raise NotFound(f"No artifact {artifact_id}.")
        return path_of(self._folder, artifact_id)

    async def stored(self, artifact_id: str) -> StoredFile:
        """A stored file with its name and type; raises Rejected when it is gone."""
        async with self._database.read() as session:
            row = await session.get(models.Artifact, artifact_id)
        if row is None:
            raise Rejected(f"there is no artifact {artifact_id}")
        return StoredFile(row.name, row.mime_type, await self.read(artifact_id))

    async def sweep(self, older_than: float) -> int:
        """Delete files that are older and that no pending message needs; returns how many."""
        async with self._database.write() as session:
            waiting = await session.scalars(
                select(models.Outbox.media).where(models.Outbox.state == "pending")
            )
            needed = {str(one["artifact_id"]) for media in waiting for one in media or ()}
            old = await session.scalars(
                select(models.Artifact.id)
                .where(models.Artifact.created_at < older_than, models.Artifact.state != "expired")
                .order_by(models.Artifact.created_at)
                .limit(EXPIRED_MAX + len(needed))
            )
            gone = [one for one in old if one not in needed][:EXPIRED_MAX]
            await session.execute(
                update(models.Artifact)
                .where(models.Artifact.id.in_(gone))
                .values(state="expired", reason="kept long enough")
            )
        for artifact_id in gone:
            await asyncio.to_thread(self.path(artifact_id).unlink, missing_ok=True)
        return len(gone)


async def _tell(session: AsyncSession, artifact: models.Artifact, words: str, now: float) -> None:
    """Tell the chat that a file of it could not be had."""
    conversation = await lock_conversation(session, artifact.conversation_id)
    row = None if artifact.inbox_id is None else await session.get(models.Inbox, artifact.inbox_id)
    await enqueue(
        session,
        conversation,
        kind="notice",
        body=words,
        dedupe_key=f"file:{artifact.id}",
        now=now,
        reply_to=None if row is None else await reply_target(session, row),
    )


def _fetch_of(row: models.Artifact) -> FileFetch:
    attachment = Attachment(
        row.kind, row.provider_id, row.name, row.mime_type, row.size, row.url, row.id
    )
    return FileFetch(row.id, row.channel, row.account, attachment, row.attempts)


def _artifact_of(row: models.Artifact) -> Artifact:
    return Artifact(row.id, row.kind, row.name, row.mime_type, row.size, row.state, row.reason)


def _is_nearly_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder if folder.exists() else folder.parent).free < (
            DISK_FREE_BYTES_MIN
        )
    except OSError:  # then writing tells what is wrong
        return False
