"""For tests: a scripted peer behind HTTP, as far as a router and a client ask it."""

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from roost_inference.errors import EngineError, UnknownSession
from roost_inference.http.exchange import error_response
from roost_inference.testing.peers.scripted import ScriptedPeer, prompt_text


def peer_app(peer: ScriptedPeer) -> Starlette:
    """The engine behind HTTP, as far as a router and a client ask it."""

    async def summary(request: Request) -> Response:
        told = await peer.summary()
        assert told is not None
        return JSONResponse(
            {
                "engine_id": told.engine_id,
                "role": told.role,
                "compat": told.compat,
                "block_tokens": told.block_tokens,
                "kv_bytes_per_token": told.bytes_per_token,
                "running": told.running,
                "waiting": told.waiting,
                "prefill_ms_per_token": told.ms_per_token,
                "fetch_ms_per_token": told.fetch_ms_per_token,
                "leases": told.leases,
            }
        )

    async def lookup(request: Request) -> Response:
        found = await peer.lookup(await request.json(), request.headers.get("x-session-id"))
        return JSONResponse({"cached_tokens": found.cached, "prompt_tokens": found.total})

    async def renew(request: Request) -> Response:
        return Response(status_code=204 if await peer.renew(request.path_params["id"]) else 410)

    async def release(request: Request) -> Response:
        await peer.release(request.path_params["id"])
        return Response(status_code=204)

    async def chat(request: Request) -> Response:
        body = await request.json()
        params = body.get("kv_transfer_params") or {}
        if params.get("do_remote_decode"):
            offer = await peer.prefill(body)
            return JSONResponse({"choices": [], "kv_transfer_params": dict(offer.params)})
        words = peer.answer(body, params)
        first = await anext(words)
        return StreamingResponse(_events(words, first, body), media_type="text/event-stream")

    async def models(request: Request) -> Response:
        return JSONResponse({"data": [{"id": "scripted"}]})

    async def sessions(request: Request) -> Response:
        listed = [{"id": one, "idle_s": 1.0} for one in await peer.sessions()]
        return JSONResponse({"object": "list", "data": listed})

    async def session(request: Request) -> Response:
        id = request.path_params["id"]
        peer.told.append(f"{request.path_params['action']} {id}")
        if id not in peer.known_sessions:
            raise UnknownSession
        return JSONResponse({"id": id})

    return Starlette(
        routes=[
            Route("/v1/kv/summary", summary),
            Route("/v1/kv/lookup", lookup, methods=["POST"]),
            Route("/v1/kv/leases/{id}/renew", renew, methods=["POST"]),
            Route("/v1/kv/leases/{id}/release", release, methods=["POST"]),
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/models", models),
            Route("/v1/sessions", sessions),
            Route("/v1/sessions/{id}/{action}", session, methods=["POST"]),
        ],
        exception_handlers={EngineError: _refused},
    )


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, EngineError)
    return error_response(error)


async def _events(
    words: AsyncGenerator[str, None], first: str, body: Mapping[str, Any]
) -> AsyncGenerator[bytes, None]:
    def event(value: Mapping[str, Any]) -> bytes:
        return f"data: {json.dumps(value)}\n\n".encode()

    written = 0
    word: str | None = first
    while word is not None:
        written += 1
        yield event({"choices": [{"index": 0, "delta": {"content": word}}]})
        word = await anext(words, None)
    yield event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    usage = {"prompt_tokens": len(prompt_text(body).split()), "completion_tokens": written}
    yield event({"choices": [], "usage": usage}) + b"data: [DONE]\n\n"
