"""The family of embeddings: vectors of texts or tokens, through the same router as answers."""

from collections.abc import Mapping
from typing import Any

from roost_inference.errors import EngineError, InvalidRequest
from roost_platform.gateway.answer import Answer
from roost_platform.gateway.families.chat.writing import error_object
from roost_platform.gateway.families.embeddings.reading import read_embeddings
from roost_platform.gateway.families.embeddings.vectors import embedding_list
from roost_platform.gateway.families.family import StreamWriter
from roost_platform.gateway.request import Family, ModelRequest


class EmbeddingsFamily:
    """OpenAI's embeddings; see GenerationFamily. They are never streamed."""

    name: Family = "embeddings"

    def read(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> ModelRequest:
        """The request of this body."""
        return read_embeddings(body)

    def writer(self, request: ModelRequest, body: Mapping[str, Any], call_id: str) -> StreamWriter:
        """Refuse: there is no stream."""
        raise InvalidRequest("Embeddings can't be streamed", param="stream")

    def whole(
        self, request: ModelRequest, body: Mapping[str, Any], call_id: str, answer: Answer
    ) -> Mapping[str, Any]:
        """The vectors as one object."""
        return embedding_list(request, body, answer)

    def error(self, error: EngineError, request_id: str) -> Mapping[str, Any]:
        """An error as the body of a response."""
        return error_object(error)
