"""What a lower tier is: named blobs with a quota, whose every call may fail or hang."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from roost_inference.backend import Payload
from roost_inference.kv.block import BlockHead
from roost_inference.kv.figures import ReadCost


class TierError(Exception):
    """A tier can't do what it should: it is full, unwritable or unreachable."""


@dataclass(frozen=True, slots=True)
class Quota:
    """Bytes a tier may hold; a load that takes longer than the deadline is given up."""

    bytes: int
    deadline_s: float


class Tier(Protocol):
    """Blocks below RAM. Called from the tier's own worker threads; all but `delete` may raise
    TierError, reads raise BadBlock and KeyError as well.

    name: labels its figures, and requests name it in `kv_load_tiers`.
    stores_tails: whether it takes the last, shorter block of a chain, which is soon replaced.
    is_shared: other engines use it too. A block there without its parent may belong to an upload
        that is not finished, so it is kept.
    scans_in_background: whether the start goes on while the tier is listed.
    """

    name: str
    quota: Quota
    stores_tails: bool
    is_shared: bool
    scans_in_background: bool
    read_cost: ReadCost

    def scan(self) -> Iterator[BlockHead]:
        """The usable blocks there, in any order; damaged ones are deleted."""
        ...

    def read(self, head: BlockHead) -> Payload:
        """The block's KV, checked. Raises KeyError if it is gone, BadBlock if it is damaged."""
        ...

    def write(self, head: BlockHead, payload: Payload) -> None:
        """Store it as a whole or not at all."""
        ...

    def delete(self, head: BlockHead) -> None:
        """Delete it if possible; never raises."""
        ...


@runtime_checkable
class KeyedTier(Protocol):
    """A tier that finds a block by its key, without a listing: so also one that another machine has
    stored since the start. Threads of several kinds call it."""

    name: str
    quota: Quota

    def get(self, key: bytes) -> memoryview | None:
        """The stored form of a block, unchecked; None if it is not there. Raises TierError."""
        ...
