"""The files of a conversation as a tool sees them: read what people sent, send what it made."""

import asyncio
from dataclasses import dataclass
from typing import Final, Protocol

from roost.documents.reader import Reading, read_document
from roost.errors import ModelRetry, ToolFailed

FETCH_WAIT_S: Final = 30.0  # a file that was just sent is still on its way to us
FETCH_LOOK_S: Final = 0.2
BYTES_MAX: Final = 50 * 1024 * 1024  # of one file that a tool makes


class File(Protocol):
    """A file of the conversation. `id` is the word that the model knows it by."""

    @property
    def id(self) -> str:
        """The word by which the model knows the file."""
        ...

    @property
    def kind(self) -> str:
        """photo, voice, audio, video or document."""
        ...

    @property
    def name(self) -> str:
        """The file's name, empty when it has none."""
        ...

    @property
    def mime_type(self) -> str:
        """Its MIME type, empty when unknown."""
        ...

    @property
    def size(self) -> int | None:
        """Its size in bytes, None until it is known."""
        ...

    @property
    def state(self) -> str:
        """pending (still fetched), stored, failed or expired."""
        ...

    @property
    def reason(self) -> str:
        """Why it failed."""
        ...


class FileStore(Protocol):
    """Where files are kept. See roost_workflows.storage.tools.Artifacts."""

    async def get(self, turn_id: str, artifact_id: str) -> File | None:
        """A file of the turn's conversation, None when it has no such file."""
        ...

    async def load(self, turn_id: str, artifact_id: str) -> bytes:
        """The bytes of a stored file."""
        ...

    async def add(
        self, turn_id: str, key: str, data: bytes, *, kind: str, name: str, mime_type: str
    ) -> File:
        """Store a file, once for each `key`."""
        ...

    async def attach(self, turn_id: str, artifact_id: str) -> None:
        """Send the file with the turn's answer."""
        ...


@dataclass(slots=True)
class Files:
    """The files of one conversation, for one tool call. Adding is idempotent per call."""

    _store: FileStore | None
    _key: str
    _turn_id: str = ""
    _added: int = 0

    async def get(self, file_id: str) -> File:
        """A file whose bytes are here; waits for one that is still fetched.

        Raises ModelRetry for an id that the conversation does not have, and ToolFailed for a file
        that is not available.
        """
        store = self._storage()
        for _ in range(round(FETCH_WAIT_S / FETCH_LOOK_S)):
            file = await store.get(self._turn_id, file_id)
            if file is None:
                raise ModelRetry(f"There is no file {file_id!r} in this conversation.")
            if file.state == "stored":
                return file
            if file.state != "pending":
                raise ToolFailed(f"The file {file_id} is not available: {file.reason}.")
            await asyncio.sleep(FETCH_LOOK_S)
        raise ToolFailed(f"The file {file_id} has not arrived yet.")

    async def read(self, file_id: str) -> bytes:
        """The bytes of a file."""
        file = await self.get(file_id)
        return await self._storage().load(self._turn_id, file.id)

    async def text(self, file_id: str) -> Reading:
        """What a document says: PDF, Word and text files. A `problem` says why it can't be read."""
        return await read_document(await self.read(file_id))

    async def add(
        self, data: bytes, *, name: str, mime_type: str = "", kind: str = "", send: bool = True
    ) -> File:
        """Keep a file. With `send` it goes with the turn's answer.

        kind: photo, voice, audio, video or document; by default what the MIME type says.
        """
        if len(data) > BYTES_MAX:
            raise ToolFailed(f"The file {name} has {len(data)} bytes, more than {BYTES_MAX}.")
        self._added += 1
        stored = await self._storage().add(
            self._turn_id,
            f"{self._key}:file:{self._added}",
            data,
            kind=kind,
            name=name,
            mime_type=mime_type,
        )
        if send:
            await self.send(stored.id)
        return stored

    async def send(self, file_id: str) -> None:
        """Send a file of this conversation with the turn's answer."""
        file = await self.get(file_id)
        await self._storage().attach(self._turn_id, file.id)

    def _storage(self) -> FileStore:
        if self._store is None:
            raise ToolFailed("This run has no storage for files.")
        return self._store
