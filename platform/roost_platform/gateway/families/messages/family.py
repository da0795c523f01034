"""The family of Anthropic's Messages API."""

from collections.abc import Mapping
from typing import Any

from roost_inference.errors import EngineError
from roost_platform.gateway.answer import Answer
from roost_platform.gateway.families.messages.errors import error_object
from roost_platform.gateway.families.messages.reading import read_messages, shows_reasoning
from roost_platform.gateway.families.messages.whole import message
from roost_platform.gateway.families.messages.writing import MessagesWriter
from roost_platform.gateway.keys.prices import estimated_tokens
from roost_platform.gateway.request import Family, ModelRequest


class MessagesFamily:
    """Anthropic's messages; see GenerationFamily."""

    name: Family = "messages"

    def read(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> ModelRequest:
        """The request of this body."""
        return read_messages(body, headers)

    def writer(
        self, request: ModelRequest, body: Mapping[str, Any], call_id: str
    ) -> MessagesWriter:
        """The writer of a streamed answer."""
        return MessagesWriter(
            request,
            call_id,
            estimate=estimated_tokens(request.prompt_bytes),
            shows_reasoning=shows_reasoning(body),
        )

    def whole(
        self, request: ModelRequest, body: Mapping[str, Any], call_id: str, answer: Answer
    ) -> Mapping[str, Any]:
        """A whole answer as one object."""
        return message(request, call_id, answer, shows_reasoning=shows_reasoning(body))

    def error(self, error: EngineError, request_id: str) -> Mapping[str, Any]:
        """An error as the body of a response."""
        return error_object(error, request_id)
