"""What a fake keeps of its state when its process ends, for a sandbox that is started again."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar, runtime_checkable

KEPT_VERSION = 1
KEPT_MESSAGES_MAX = 500  # the newest of each chat
KEPT_FILE_BYTES_MAX = 16 * 1024 * 1024  # of all files together, the newest first
IDS_SKIPPED = 1000  # so that no id comes twice that was given out after the last time of keeping


@runtime_checkable
class Lasting(Protocol):
    """A fake whose users, chats and files can be kept. `state_number` grows with each change."""

    @property
    def state_number(self) -> int:
        """Changes whenever there is something new to keep."""
        ...

    @property
    def state_event(self) -> asyncio.Event:
        """Set by the next change; each change has an event of its own."""
        ...

    def dump(self) -> bytes:
        """The state as JSON, within the bounds of this module."""
        ...

    def load(self, kept: bytes) -> None:
        """Take over what `dump` returned, before the start; ValueError for anything else."""
        ...


class _Stored(Protocol):
    data: bytes


StoredT = TypeVar("StoredT", bound=_Stored)


def newest_files(files: Iterable[StoredT]) -> Sequence[StoredT]:
    """The newest files that fit KEPT_FILE_BYTES_MAX, oldest first."""
    kept, size = [], 0
    for file in reversed(list(files)):
        size += len(file.data)
        if size > KEPT_FILE_BYTES_MAX:
            break
        kept.append(file)
    return kept[::-1]


def check_version(version: int) -> None:
    """Raise ValueError for the state of another version of the fakes."""
    if version != KEPT_VERSION:
        raise ValueError(f"it has version {version}, not {KEPT_VERSION}")
