"""Writes a response as the events of a stream, or as one object."""

from collections.abc import Sequence
from typing import Any

from roost_inference.errors import EngineError
from roost_platform.gateway.answer import Answer
from roost_platform.gateway.encoding import encode
from roost_platform.gateway.events import (
    CallDelta,
    Event,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
)
from roost_platform.gateway.families.responses.building import ResponseBuilder


class ResponseWriter:
    """The events of one response, numbered in order; see StreamWriter."""

    def __init__(
        self, resource: dict[str, Any], *, custom: frozenset[str], summarises: bool
    ) -> None:
        self._parts: list[bytes] = []
        self._number = 0
        self.builder = ResponseBuilder(resource, self._tell, custom=custom, summarises=summarises)

    def write(self, events: Sequence[Event]) -> bytes:
        """These events as the client reads them."""
        self.builder.take(events)
        return self._told()

    def end(self) -> bytes:
        """The end of the response."""
        self.builder.end()
        return self._told()

    def fail(self, error: EngineError) -> bytes:
        """An error, and the end of a response that has failed."""
        self.builder.fail(error)
        return self._told()

    def cancel(self) -> bytes:
        """The end of a response that was cancelled."""
        self.builder.cancel()
        return self._told()

    @property
    def has_begun(self) -> bool:
        """Whether anything was told."""
        return self._number > 0

    def _tell(self, kind: str, /, **fields: Any) -> None:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        self._parts.append(b"event: " + kind.encode() + b"\ndata: " + encode(event) + b"\n\n")

    def _told(self) -> bytes:
        told = b"".join(self._parts)
        self._parts.clear()
        return told


def whole_response(
    resource: dict[str, Any], answer: Answer, *, custom: frozenset[str], summarises: bool
) -> dict[str, Any]:
    """A response as one object, from a whole answer."""
    builder = ResponseBuilder(resource, _silent, custom=custom, summarises=summarises)
    choice = answer.choices[0]
    events: list[Event] = [
        ReasoningDelta(block.text, signature=block.signature, is_redacted=block.is_redacted)
        for block in choice.reasoning
    ]
    if choice.text or choice.logprobs:
        events.append(TextDelta(choice.text, logprobs=choice.logprobs))
    if choice.refusal:
        events.append(RefusalDelta(choice.refusal))
    events += [
        CallDelta(index, call.id, call.name, call.arguments)
        for index, call in enumerate(choice.calls)
    ]
    events += [Finish(choice.finish or "stop"), answer.usage]
    builder.take(events)
    builder.end()
    return builder.resource


def _silent(kind: str, /, **fields: Any) -> None:
    """A whole response tells nothing on its way."""
