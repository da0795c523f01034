"""A provider of the internet on loopback, whose answers a test writes chunk by chunk."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.types import Receive, Scope, Send

Chunks = Sequence[Mapping[str, Any]]
Refusal = tuple[int, Mapping[str, Any]]


def said(text: str, finish: str = "stop", **delta: Any) -> list[dict[str, Any]]:
    """The chunks of a short answer."""
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return [
        {"id": "1", "choices": [{"index": 0, "delta": {"content": text, **delta}}]},
        {"id": "1", "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]},
        {"id": "1", "choices": [], "usage": usage},
    ]


class FakeProvider:
    """Takes any chat request. answer: the chunks, or a refusal, for a body."""

    def __init__(self, answer: Callable[[Mapping[str, Any]], Chunks | Refusal]) -> None:
        self.answer = answer
        self.requests: list[dict[str, Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        request = json.loads(body)
        self.requests.append(request)
        answer = self.answer(request)
        if isinstance(answer, tuple):
            status, content = answer[0], json.dumps(answer[1]).encode()
            kind = b"application/json"
        else:
            status, kind = 200, b"text/event-stream"
            events = [f"data: {json.dumps(chunk)}\n\n" for chunk in answer]
            content = "".join([*events, "data: [DONE]\n\n"]).encode()
        headers = [(b"content-type", kind)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})
