"""Files in a conversation as a tool sees them: read what people sent, send what was made."""

import asyncio
from dataclasses import dataclass
from typing import Final, Protocol

from roost.errors import ModelRetry, ToolFailed

FETCH_WAIT_S: Final = 30.0  # a file that was just sent is still on its way to us
FETCH_LOOK_S: Final = 0.2
BYTES_MAX: Final = 50 * 1024 * 1024  # of one file that a tool makes


class File(Protocol):
    """A file of the conversation. `id` is the word that the model knows it by."""

    @property
    def id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def mime_type(self) -> str: ...
    @property
    def size(self) -> int | None: ...
    @property
    def state(self) -> str: ...
    @property
    def reason(self) -> str: ...


class FileStore(Protocol):
    """Where files are kept. See roost_workflows.ports.Artifacts."""

    async def get(self, turn_id: str, artifact_id: str) -> File | None: ...
    async def load(self, turn_id: str, artifact_id: str) -> bytes: ...
    async def add(
        self, turn_id: str, key: str, data: bytes, *, kind: str, name: str, mime_type: str
    ) -> File: ...
    async def attach(self, turn_id: str, artifact_id: str) -> None: ...


@dataclass(slots=True)
class Files:
    """The files of one conversation, for one tool call. Adding is idempotent per call."""

    _store: FileStore | None
    _key: str
    _turn_id: str = ""
    _added: int = 0

    async def get(self, file_id: str) -> File:
        """A file whose bytes are here; waits for one that is on its way. Raises ModelRetry for an
        id that the conversation does not have, ToolFailed for a file that can't be had.
        """
        store = self._storage()
        for _ in range(round(FETCH_WAIT_S / FETCH_LOOK_S)):
            found = await store.get(self._turn_id, file_id)
            if found is None:
                raise ModelRetry(f"There is no file {file_id!r} in this conversation.")
            if found.state == "stored":
                return found
            if found.state != "pending":
                raise ToolFailed(f"The file {file_id} can't be had: {found.reason}.")
            await asyncio.sleep(FETCH_LOOK_S)
        raise ToolFailed(f"The file {file_id} has not arrived yet.")

    async def read(self, file_id: str) -> bytes:
        """The bytes of a file."""
        found = await self.get(file_id)
        return await self._storage().load(self._turn_id, found.id)

    async def add(
        self, data: bytes, *, name: str, mime_type: str = "", kind: str = "", send: bool = True
    ) -> File:
        """Keep a file. With `send` it goes with the turn's answer.

        kind: photo, voice, audio, video or document; by default what the MIME type says.
        """
        if len(data) > BYTES_MAX:
            raise ToolFailed(f"The file {name} has {len(data)} bytes, more than {BYTES_MAX}.")
        self._added += 1
        made = await self._storage().add(
            self._turn_id,
            f"{self._key}:file:{self._added}",
            data,
            kind=kind,
            name=name,
            mime_type=mime_type,
        )
        if send:
            await self.send(made.id)
        return made

    async def send(self, file_id: str) -> None:
        """Send a file of this conversation with the turn's answer."""
        found = await self.get(file_id)
        await self._storage().attach(self._turn_id, found.id)

    def _storage(self) -> FileStore:
        if self._store is None:
            raise ToolFailed("No files are kept here.")
        return self._store
