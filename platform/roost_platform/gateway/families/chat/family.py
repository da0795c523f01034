"""The family of chat completions."""

from collections.abc import Mapping
from typing import Any

from roost_inference.errors import EngineError
from roost_platform.gateway.answer import Answer
from roost_platform.gateway.families.chat.reading import read_chat
from roost_platform.gateway.families.chat.writing import ChatWriter, completion, error_object
from roost_platform.gateway.request import Family, ModelRequest


class ChatFamily:
    """OpenAI's chat completions; see GenerationFamily."""

    name: Family = "chat"

    def read(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> ModelRequest:
        """The request of this body."""
        return read_chat(body, headers)

    def writer(self, request: ModelRequest, body: Mapping[str, Any], call_id: str) -> ChatWriter:
        """The writer of a streamed answer."""
        return ChatWriter(request, body, call_id)

    def whole(
        self, request: ModelRequest, body: Mapping[str, Any], call_id: str, answer: Answer
    ) -> Mapping[str, Any]:
        """A whole answer as one object."""
        return completion(request, body, call_id, answer)

    def error(self, error: EngineError, request_id: str) -> Mapping[str, Any]:
        """An error as the body of a response."""
        return error_object(error)
