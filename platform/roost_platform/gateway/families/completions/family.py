"""The family of completions."""

from collections.abc import Mapping
from typing import Any

from roost_inference.errors import EngineError
from roost_platform.gateway.answer import Answer
from roost_platform.gateway.families.chat.writing import error_object
from roost_platform.gateway.families.completions.reading import read_completion
from roost_platform.gateway.families.completions.writing import CompletionWriter, completion
from roost_platform.gateway.request import Family, ModelRequest


class CompletionsFamily:
    """OpenAI's completions; see GenerationFamily."""

    name: Family = "completions"

    def read(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> ModelRequest:
        """The request of this body."""
        return read_completion(body, headers)

    def writer(
        self, request: ModelRequest, body: Mapping[str, Any], call_id: str
    ) -> CompletionWriter:
        """The writer of a streamed answer."""
        return CompletionWriter(request, body, call_id)

    def whole(
        self, request: ModelRequest, body: Mapping[str, Any], call_id: str, answer: Answer
    ) -> Mapping[str, Any]:
        """A whole answer as one object."""
        return completion(request, body, call_id, answer)

    def error(self, error: EngineError, request_id: str) -> Mapping[str, Any]:
        """An error as the body of a response."""
        return error_object(error)
