"""POST /v1/embeddings: vectors of texts, where the engine has a model for them."""

import asyncio
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from roost_inference.embeddings.call import read_call
from roost_inference.embeddings.service import EmbeddingJob, EmbeddingService
from roost_inference.errors import UnknownModel
from roost_inference.http.exchange import read_body, while_connected
from roost_inference.http.preparation import Preparation, PreparationLanes
from roost_inference.wire.json_body import parse_json


class EmbeddingsRoute:
    """Reads a request, has it computed, and sends the vectors. A client that leaves ends it."""

    def __init__(
        self,
        service: Callable[[], EmbeddingService | None],
        lanes: PreparationLanes,
        body_bytes_max: int,
    ) -> None:
        """service: gives the service, None without an embedding model; raises EngineUnavailable
        while the models load."""
        self._service = service
        self._lanes = lanes
        self._body_bytes_max = body_bytes_max

    async def embeddings(self, request: Request) -> Response:
        """Answer a request."""
        body = await read_body(request, self._body_bytes_max)
        preparation = self._lanes.open(len(body))
        service = self._service()
        if service is None:
            raise UnknownModel(
                "This engine has no embedding model: its setting embedding_model "
                "(ROOST_ENGINE__EMBEDDING_MODEL) names a GGUF file of one",
                param="model",
            )
        work = _vectors(service, body, preparation)
        content = await while_connected(request.receive, preparation, work)
        return Response(content, media_type="application/json")


async def _vectors(service: EmbeddingService, body: bytes, preparation: Preparation) -> bytes:
    def prepare() -> EmbeddingJob:
        call = read_call(parse_json(body))
        preparation.check()
        return service.prepare(call)

    job = await preparation.run(prepare)
    return await asyncio.wrap_future(service.submit(job))
