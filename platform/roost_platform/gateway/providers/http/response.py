"""What callers need of a provider's answer, and of a client, whichever of them it is."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol


class Response(Protocol):
    """An answer whose head has come. Its errors are EngineUnavailable and TimeoutError."""

    @property
    def status(self) -> int:
        """Its status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Its headers by their names in small letters; of equal names the first one counts."""
        ...

    @property
    def is_ended(self) -> bool:
        """Whether its body was read to the end."""
        ...

    def parts(self) -> AsyncIterator[bytes]:
        """More of its body: whatever has come since the last part."""
        ...

    def divert(self, take: Callable[[bytes], bool]) -> None:
        """Show `take` each part that comes while somebody waits for more; one for which it returns
        True is its own. A client that can't do so shows none.
        """
        ...

    def close(self) -> None:
        """End it. Before the end of its body this closes the connection at once."""
        ...


class Client(Protocol):
    """Asks one provider over connections that are kept."""

    async def ask(
        self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]
    ) -> Response:
        """The answer with whatever status; no redirect is followed. Whoever asks closes it.

        Raises EngineUnavailable where no answer comes, TimeoutError where it takes too long.
        """
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
