"""The routes below /v1/kv: leases and their blocks for another engine, and figures for a router."""

import asyncio
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from roost_inference.http.exchange import read_body, while_connected
from roost_inference.http.handover.service import HandoverService
from roost_inference.http.preparation import PreparationLanes
from roost_inference.kv.handover.local import LENGTH_BYTES
from roost_inference.kv.index import Node
from roost_inference.wire.json_body import parse_json
from roost_inference.wire.kv_lookup import BlockKeys

# The keys that one read may name, as JSON.
KEYS_BYTES_MAX = 16 * 2**10


class HandoverRoutes:
    """One method per route. service: raises EngineUnavailable while the model loads."""

    def __init__(
        self,
        service: Callable[[], HandoverService],
        lanes: PreparationLanes,
        body_bytes_max: int,
    ) -> None:
        self._service = service
        self._lanes = lanes
        self._body_bytes_max = body_bytes_max

    def table(self) -> list[Route]:
        """The routes."""
        lease = "/v1/kv/leases/{id}"
        return [
            Route("/v1/kv/summary", self.summary),
            Route("/v1/kv/lookup", self.lookup, methods=["POST"]),
            Route(f"{lease}/renew", self.renew, methods=["POST"]),
            Route(f"{lease}/release", self.release, methods=["POST"]),
            Route(f"{lease}/blocks", self.blocks, methods=["POST"]),
        ]

    async def summary(self, request: Request) -> Response:
        """What a router weighs."""
        return JSONResponse(self._service().summary())

    async def lookup(self, request: Request) -> Response:
        """How much of a prompt is stored here."""
        body = await read_body(request, self._body_bytes_max)
        preparation = self._lanes.open(len(body))
        service = self._service()
        working = preparation.run(lambda: service.lookup(body, preparation))
        return JSONResponse(await while_connected(request.receive, preparation, working))

    async def renew(self, request: Request) -> Response:
        """204 while the lease is open, 410 once it has ended, 404 for an unknown one."""
        self._service().renew(request.path_params["id"])
        return Response(status_code=204)

    async def release(self, request: Request) -> Response:
        """204, whatever the state of the lease."""
        self._service().release(request.path_params["id"])
        return Response(status_code=204)

    async def blocks(self, request: Request) -> "BlocksResponse":
        """The blocks of the keys, each behind its length, up to the first that is not there."""
        keys = BlockKeys.parse(parse_json(await read_body(request, KEYS_BYTES_MAX)))
        service, id = self._service(), request.path_params["id"]
        return BlocksResponse(service, id, service.blocks(id, keys))


class BlocksResponse:
    """An ASGI response of one block after another, of which one at a time is in memory a second
    time. It ends early where a block has gone meanwhile."""

    def __init__(self, service: HandoverService, id: str, nodes: list[Node]) -> None:
        self._service = service
        self._id = id
        self._nodes = nodes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the blocks until the reader leaves."""
        headers = [(b"content-type", b"application/octet-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        request = Request(scope, receive)
        for node in self._nodes:
            form = await asyncio.to_thread(self._service.stored_form, self._id, node)
            if form is None or await request.is_disconnected():
                break
            head, payload = form
            size = (len(head) + len(payload)).to_bytes(LENGTH_BYTES, "little")
            for part in (size + head, payload):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
