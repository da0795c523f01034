"""What tools need from storage: notes about people, and files of the conversation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from roost.messages import MessageFile


@dataclass(frozen=True, slots=True)
class Note:
    """A note kept for one person."""

    id: int
    text: str
    created_at: float


class PersonNotes(Protocol):
    """Notes per person, for tools; `key` makes adding idempotent."""

    async def add(self, person_id: str, text: str, key: str) -> Note:
        """Keep a note, once for each `key`."""
        ...

    async def list(self, person_id: str) -> Sequence[Note]:
        """The person's notes, oldest first."""
        ...

    async def remove(self, person_id: str, note_id: int) -> bool:
        """Delete a note; False when the person has no such note."""
        ...


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file of a conversation. state: pending (still fetched) | stored | failed | expired; size in
    bytes, None until it is known.
    """

    id: str
    kind: str
    name: str
    mime_type: str
    size: int | None
    state: str
    reason: str = ""


class Artifacts(Protocol):
    """Files of the conversation that a turn belongs to; those of others are not found."""

    async def get(self, turn_id: str, artifact_id: str) -> Artifact | None:
        """A file, None when the conversation has no such file."""
        ...

    async def load(self, turn_id: str, artifact_id: str) -> bytes:
        """The bytes of a stored file."""
        ...

    async def add(
        self, turn_id: str, key: str, data: bytes, *, kind: str, name: str, mime_type: str
    ) -> Artifact:
        """Store a file, once per `key`."""
        ...

    async def keep_reading(self, turn_id: str, message_id: str, file: MessageFile) -> None:
        """Keep what was read of a file with the message that it came with, once: every later prompt
        of the conversation shows the same.
        """
        ...

    async def attach(self, turn_id: str, artifact_id: str) -> None:
        """Send the file with the turn's answer; a file attached already is left attached."""
        ...
