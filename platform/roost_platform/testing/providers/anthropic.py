"""Anthropic's API on loopback: it answers by a script, and refuses what the real one refuses."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from roost_inference.http.listener import listening
from roost_platform.testing.providers.anthropic_rules import broken_rule

KEY = "anthropic-key-of-the-test"
MODEL = "claude-scripted"
PIECE = 7  # characters of a delta


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. blocks: its content.

    breaks_after: events after which the connection is lost; error: an event in the place of the
    end; hangs: nothing comes after the blocks until the client leaves.
    """

    blocks: Sequence[Mapping[str, Any]] = ({"type": "text", "text": "Hello from far away"},)
    stop_reason: str = "end_turn"
    stop_sequence: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    breaks_after: int | None = None
    error: Mapping[str, Any] | None = None
    hangs: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """An error instead of an answer."""

    status: int
    type: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


class ScriptedAnthropic:
    """requests: bodies as received, headers: beside them. The next request gets the next reply."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.replies: deque[Reply | Refused] = deque()
        self.left = asyncio.Event()  # a client has left before its end
        self.tokens = 42  # what count_tokens says; 0: there is no such address; -1: nothing
        self.base_url = ""
        self._stack = contextlib.AsyncExitStack()
        self.app = Starlette(
            routes=[
                Route("/v1/messages", self._messages, methods=["POST"]),
                Route("/v1/messages/count_tokens", self._count, methods=["POST"]),
                Route("/v1/models", self._models),
            ]
        )

    async def __aenter__(self) -> Self:
        self.base_url = await self._stack.enter_async_context(listening(self.app))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def _messages(self, request: Request) -> Response:
        body = await self._taken(request)
        if problem := self._problem(request, body):
            return _refusal(problem)
        reply = self.replies.popleft() if self.replies else Reply()
        if isinstance(reply, Refused):
            return _refusal(reply)
        events = events_of(reply, body["model"])
        return StreamingResponse(self._sent(reply, events), media_type="text/event-stream")

    async def _sent(self, reply: Reply, events: Sequence[Mapping[str, Any]]) -> AsyncIterator[str]:
        is_whole = False
        try:
            for number, event in enumerate(events):
                if reply.breaks_after == number:
                    is_whole = True
                    await asyncio.sleep(0.02)  # lets what was said reach the client
                    raise ConnectionError("the script breaks the connection")
                if reply.hangs and event["type"] == "message_delta":
                    await asyncio.Event().wait()
                yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
            is_whole = True
        finally:
            if not is_whole:
                self.left.set()

    async def _count(self, request: Request) -> Response:
        body = await self._taken(request)
        if self.tokens < 0:
            await asyncio.Event().wait()
        if not self.tokens:
            return _refusal(Refused(404, "not_found_error", "Not found"))
        if problem := self._problem(request, body, is_count=True):
            return _refusal(problem)
        return JSONResponse({"input_tokens": self.tokens})

    async def _models(self, request: Request) -> Response:
        model = {
            "type": "model",
            "id": MODEL,
            "display_name": "Claude Scripted",
            "created_at": "2026-02-04T00:00:00Z",
            "max_input_tokens": 200_000,
            "max_tokens": 64_000,
        }
        return JSONResponse(
            {"data": [model], "has_more": False, "first_id": MODEL, "last_id": MODEL}
        )

    async def _taken(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = await request.json()
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        return body

    def _problem(
        self, request: Request, body: dict[str, Any], *, is_count: bool = False
    ) -> Refused | None:
        if request.headers.get("x-api-key") != KEY:
            return Refused(401, "authentication_error", "invalid x-api-key")
        if "anthropic-version" not in request.headers:
            return Refused(400, "invalid_request_error", "anthropic-version: header is required")
        rule = broken_rule(body, is_count=is_count)
        return Refused(400, "invalid_request_error", rule) if rule else None


def _refusal(refused: Refused) -> Response:
    error = {"type": refused.type, "message": refused.message}
    return JSONResponse(
        {"type": "error", "error": error, "request_id": "req_scripted"},
        status_code=refused.status,
        headers=dict(refused.headers),
    )


def events_of(reply: Reply, model: str) -> list[dict[str, Any]]:
    """The events of a reply, as Anthropic sends them."""
    usage = {"input_tokens": 11, "output_tokens": 1, **reply.usage}
    message: dict[str, Any] = {
        "id": "msg_scripted",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 1},
    }
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}, {"type": "ping"}]
    for index, block in enumerate(reply.blocks):
        first, deltas = _pieces(block)
        events.append({"type": "content_block_start", "index": index, "content_block": first})
        events += [
            {"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas
        ]
        events.append({"type": "content_block_stop", "index": index})
    if reply.error is not None:
        return [*events, {"type": "error", "error": reply.error}]
    delta = {"stop_reason": reply.stop_reason, "stop_sequence": reply.stop_sequence}
    total = {**usage, "output_tokens": reply.usage.get("output_tokens", 9)}
    events.append({"type": "message_delta", "delta": delta, "usage": total})
    return [*events, {"type": "message_stop"}]


def _pieces(block: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a block begins with, and its deltas."""

    def cut(text: str, type: str, name: str) -> list[dict[str, Any]]:
        parts = [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
        return [{"type": type, name: part} for part in parts]

    match block["type"]:
        case "text":
            cited = [{"type": "citations_delta", "citation": c} for c in block.get("citations", ())]
            first = {"type": "text", "text": ""}
            return first, [*cut(block["text"], "text_delta", "text"), *cited]
        case "thinking":
            deltas = cut(block["thinking"], "thinking_delta", "thinking")
            proof = {"type": "signature_delta", "signature": block["signature"]}
            return {"type": "thinking", "thinking": "", "signature": ""}, [*deltas, proof]
        case "tool_use" | "server_tool_use":
            text = json.dumps(block["input"]) if block["input"] else ""
            return {**block, "input": {}}, cut(text, "input_json_delta", "partial_json")
        case _:
            return dict(block), []
