"""What blocks are read from by their keys: another engine, or an object store."""

from collections.abc import Generator, Sequence
from typing import Protocol


class SourceError(Exception):
    """A source can't be read. reason: one word, the label of its figures."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason


class KvSource(Protocol):
    """Reads blocks by key, on a thread that may wait.

    name: of the transport, for figures. It may be known only once something was read.
    """

    @property
    def name(self) -> str:
        """The transport's name."""
        ...

    def read(self, keys: Sequence[bytes], deadline: float) -> Generator[memoryview, None, None]:
        """The blocks in their stored form, in the order of the keys, up to the first that is not
        there. One block at a time is in memory. Raises SourceError, also once the deadline, a time
        of the reader's clock, has passed."""
        ...

    def renew(self) -> None:
        """Tell the source that its blocks are still wanted; never raises and never waits."""
        ...

    def release(self) -> None:
        """Tell it that nothing more is wanted; never raises and never waits. May be called twice,
        and without a read before."""
        ...
