"""What the door needs of a family: how its requests are read and its answers are written."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from roost_inference.errors import EngineError
from roost_platform.gateway.answer import Answer
from roost_platform.gateway.events import Event
from roost_platform.gateway.request import Family, ModelRequest


class StreamWriter(Protocol):
    """The events of one streamed answer, in the family's form."""

    def write(self, events: Sequence[Event]) -> bytes:
        """These events as the client reads them; empty for those it is not told."""
        ...

    def end(self) -> bytes:
        """What ends the stream."""
        ...

    def fail(self, error: EngineError) -> bytes:
        """An error in mid-stream, and the end."""
        ...


class GenerationFamily(Protocol):
    """A form of the API that generates text. name: as rows of usage have it."""

    name: Family

    def read(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> ModelRequest:
        """The request of this body. Raises InvalidRequest, which names the field."""
        ...

    def writer(self, request: ModelRequest, body: Mapping[str, Any], call_id: str) -> StreamWriter:
        """The writer of a streamed answer."""
        ...

    def whole(
        self, request: ModelRequest, body: Mapping[str, Any], call_id: str, answer: Answer
    ) -> Mapping[str, Any]:
        """A whole answer as one object."""
        ...

    def error(self, error: EngineError, request_id: str) -> Mapping[str, Any]:
        """An error as the body of a response; its status and Retry-After are the door's."""
        ...
