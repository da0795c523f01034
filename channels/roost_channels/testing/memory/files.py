"""Files in memory that keep the rules of the data folder, for tests of channels."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from roost_channels.errors import Rejected
from roost_channels.files import FileFetch, StoredFile
from roost_channels.message import Attachment

WAIT_S = 0.02


@dataclass(slots=True)
class MemoryFiles:
    """Implements Files.

    data: bytes by artifact id. waiting: files that are still to be fetched; due_at: when.
    failed: why a file was given up; told: what its sender heard. arrived_at: when its message came.
    still_to_send: ids of files that no sweep deletes.
    """

    data: dict[str, bytes] = field(default_factory=dict)
    waiting: dict[str, FileFetch] = field(default_factory=dict)
    due_at: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    arrived_at: dict[str, float] = field(default_factory=dict)
    still_to_send: set[str] = field(default_factory=set)

    def arrived(self, attachment: Attachment, account: str = "42", at: float = 0.0) -> None:
        """A message came with this file."""
        artifact_id = attachment.artifact_id
        self.waiting[artifact_id] = FileFetch(artifact_id, "telegram", account, attachment, 0)
        self.due_at[artifact_id] = self.arrived_at[artifact_id] = at

    async def wait(self, timeout_s: float) -> None:
        """Return at once or soon: nothing here tells of changes."""
        await asyncio.sleep(min(timeout_s, WAIT_S))

    async def fetches(
        self, channels: Sequence[tuple[str, str]], now: float, limit: int
    ) -> Sequence[FileFetch]:
        """Files that are due, oldest first."""
        due = [
            fetch
            for fetch in self.waiting.values()
            if (fetch.channel, fetch.account) in channels and self.due_at[fetch.artifact_id] <= now
        ]
        return sorted(due, key=lambda fetch: self.due_at[fetch.artifact_id])[:limit]

    async def fetched(self, artifact_id: str, data: bytes) -> None:
        """Keep a file that is still waited for."""
        if self.waiting.pop(artifact_id, None) is not None:
            self.data[artifact_id] = data

    async def not_fetched(
        self, artifact_id: str, reason: str, *, retry_at: float | None = None, told: str = ""
    ) -> None:
        """Record a failed try; for good without `retry_at`."""
        fetch = self.waiting.get(artifact_id)
        if fetch is None:
            return
        if retry_at is None:
            del self.waiting[artifact_id]
            self.failed[artifact_id] = reason
            self.told[artifact_id] = told
            return
        self.due_at[artifact_id] = retry_at
        self.waiting[artifact_id] = replace(fetch, attempts=fetch.attempts + 1)

    async def read(self, artifact_id: str) -> bytes:
        """The bytes of a file; raises Rejected when they are gone."""
        if artifact_id not in self.data:
            raise Rejected(f"the file of artifact {artifact_id} is gone")
        return self.data[artifact_id]

    async def stored(self, artifact_id: str) -> StoredFile:
        """See `Files.stored`."""
        return StoredFile(artifact_id, "application/octet-stream", await self.read(artifact_id))

    async def sweep(self, older_than: float) -> int:
        """Delete files of messages that came before that; returns how many."""
        old = [
            artifact_id
            for artifact_id, at in self.arrived_at.items()
            if at < older_than and artifact_id not in self.still_to_send
        ]
        for artifact_id in old:
            del self.arrived_at[artifact_id]
            self.data.pop(artifact_id, None)
            self.waiting.pop(artifact_id, None)
        return len(old)
