"""What responses need of storage."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

OPEN: Final = frozenset({"queued", "in_progress"})  # statuses of a response that still changes
HISTORY_RESPONSES_MAX: Final = 2000  # in one conversation
HISTORY_BYTES_MAX: Final = 16 * 2**20


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response as it was told, and the items of its own input.

    key_id: of the only key that may see it. previous_id: None as well where that one is deleted.
    """

    id: str
    key_id: str
    resource: Mapping[str, Any]
    input_items: Sequence[Mapping[str, Any]]
    previous_id: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it still runs, as far as the store knows."""
        return self.resource.get("status") in OPEN


class ResponseStore(Protocol):
    """Responses of all keys; what has expired is not there."""

    async def find(self, key_id: str, ids: Collection[str]) -> Mapping[str, StoredResponse]:
        """Those of these ids that belong to the key, by id."""
        ...

    async def history(self, key_id: str, id: str) -> Sequence[StoredResponse]:
        """A response and all before it, oldest first; empty if it is not there. They are kept
        longer from now on, as the conversation goes on.

        Raises PromptTooLong above HISTORY_RESPONSES_MAX or HISTORY_BYTES_MAX.
        """
        ...

    async def add(self, response: StoredResponse) -> None:
        """Store a new response."""
        ...

    async def change(self, id: str, resource: Mapping[str, Any]) -> bool:
        """Store the new state of an open response; False if there is none of this id."""
        ...

    async def delete(self, key_id: str, id: str) -> bool:
        """Delete a response; False if it is not there."""
        ...

    async def open_ones(self, ids: Collection[str]) -> Collection[str]:
        """Those of these ids that are open."""
        ...

    async def is_lost(self, response: StoredResponse) -> bool:
        """Whether the process that ran an open response has ended without a word."""
        ...
