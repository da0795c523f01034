"""What the router needs of a provider, whatever its wire."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Protocol

from roost_platform.gateway.events import Event
from roost_platform.gateway.request import ModelRequest, Wire


class Provider(Protocol):
    """A server with models. Raises the errors of roost_inference.errors and of the gateway.

    Closing the generator closes the connection at once, which is how a provider learns to stop.
    """

    @property
    def name(self) -> str:
        """Its name in the settings."""
        ...

    @property
    def wire(self) -> Wire:
        """The API it speaks."""
        ...

    def stream(
        self, request: ModelRequest, model: str, hints: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[Event], None]:
        """The answer as batches of events; the first batch comes with the provider's first event.

        model: the provider's own name. hints: fields for the bundled core about session and tenant.
        """
        ...

    async def embed(self, body: Mapping[str, Any], model: str) -> Mapping[str, Any]:
        """The answer to an embeddings request in OpenAI's form."""
        ...

    async def models(self) -> Sequence[Mapping[str, Any]]:
        """The models it serves, as entries of OpenAI's list."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
