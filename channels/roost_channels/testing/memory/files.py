"""Files in memory, for tests of what channels fetch and send."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from roost_channels.errors import Rejected
from roost_channels.files import Fetch, StoredFile
from roost_channels.message import Attachment


@dataclass(slots=True)
class MemoryFiles:
    """Implements Files. `data` by artifact id; `failed` tells why a file was given up."""

    data: dict[str, bytes] = field(default_factory=dict)
    waiting: dict[str, Fetch] = field(default_factory=dict)
    due_at: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    swept: list[float] = field(default_factory=list)

    def arrived(self, attachment: Attachment, account: str = "42") -> None:
        """A message came with this file."""
        name = attachment.artifact_id
        self.waiting[name] = Fetch(name, "telegram", account, attachment, 0)

    async def fetches(
        self, channels: Sequence[tuple[str, str]], now: float, limit: int
    ) -> Sequence[Fetch]:
        return [
            fetch
            for fetch in self.waiting.values()
            if (fetch.channel, fetch.account) in channels
            and self.due_at.get(fetch.artifact_id, 0.0) <= now
        ][:limit]

    async def fetched(self, artifact_id: str, data: bytes) -> None:
        del self.waiting[artifact_id]
        self.data[artifact_id] = data

    async def not_fetched(
        self, artifact_id: str, reason: str, *, retry_at: float | None = None
    ) -> None:
        fetch = self.waiting.pop(artifact_id)
        if retry_at is None:
            self.failed[artifact_id] = reason
            return
        self.due_at[artifact_id] = retry_at
        self.waiting[artifact_id] = Fetch(
            artifact_id, fetch.channel, fetch.account, fetch.attachment, fetch.attempts + 1
        )

    async def read(self, artifact_id: str) -> bytes:
        if artifact_id not in self.data:
            raise Rejected("gone")
        return self.data[artifact_id]

    async def stored(self, artifact_id: str) -> StoredFile:
        return StoredFile(artifact_id, "application/octet-stream", await self.read(artifact_id))

    async def sweep(self, older_than: float) -> int:
        self.swept.append(older_than)
        return 0
