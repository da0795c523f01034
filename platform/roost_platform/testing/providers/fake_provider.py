"""For tests: a provider with OpenAI's wire on loopback that answers as it is told."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Receive, Scope, Send

from roost_inference.http.listener import listening


class ConnectionBroken(Exception):
    """Raised through the server to break the connection, as a crash would."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer in parts. end: how it ends: properly, by a broken connection, or never."""

    parts: Iterable[bytes] = ()
    status: int = 200
    content_type: str = "text/event-stream"
    end: str = "properly"  # | broken | never


@dataclass(slots=True)
class FakeProvider:
    """answers: by path. requests: path and body of each, oldest first. bytes_sent: of all answers.
    closed: answers whose client left before their end.
    """

    answers: dict[str, Callable[[Mapping[str, Any]], Reply]] = field(default_factory=dict)
    requests: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    bytes_sent: int = 0
    closed: int = 0
    url: str = ""

    @property
    def bodies(self) -> list[Mapping[str, Any]]:
        """The bodies of the chat requests."""
        return [body for path, body in self.requests if path.endswith("/chat/completions")]

    def chat(self, answer: Callable[[Mapping[str, Any]], Reply]) -> None:
        """Answer chats like this."""
        self.answers["/v1/chat/completions"] = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        request = json.loads(body) if body else {}
        self.requests.append((scope["path"], request))
        answer = self.answers.get(scope["path"])
        reply = answer(request) if answer else json_reply({"detail": "Not Found"}, status=404)
        await self._send(reply, receive, send)

    async def _send(self, reply: Reply, receive: Receive, send: Send) -> None:
        kind = (b"content-type", reply.content_type.encode())
        start = {"type": "http.response.start", "status": reply.status, "headers": [kind]}
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            if reply.parts or reply.end != "never":
                await send(start)
            for part in reply.parts:
                if gone.done():
                    break
                await send({"type": "http.response.body", "body": part, "more_body": True})
                self.bytes_sent += len(part)
                await asyncio.sleep(0)
            if reply.end == "broken":
                await asyncio.sleep(0.02)  # the parts reach the client before the connection goes
                raise ConnectionBroken
            if reply.end == "never":
                await gone
        finally:
            self.closed += gone.done()
            gone.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@contextlib.asynccontextmanager
async def fake_provider() -> AsyncIterator[FakeProvider]:
    """A provider that listens."""
    provider = FakeProvider()
    async with listening(provider) as url:
        provider.url = f"{url}/v1"
        yield provider


def event(value: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + (value if isinstance(value, str) else json.dumps(value)).encode() + b"\n\n"


def delta(fields: Mapping[str, Any], choice: int = 0, **more: Any) -> bytes:
    """A chunk with these fields of a message; more: beside it, such as finish_reason."""
    return event({"id": "1", "choices": [{"index": choice, "delta": fields, **more}]})


def said(
    pieces: Sequence[str], *, choices: int = 1, finish: str = "stop", tokens: int = 3
) -> Reply:
    """A proper streamed answer in these pieces of text, the same for each choice."""
    parts = [delta({"content": piece}, number) for number in range(choices) for piece in pieces]
    parts += [delta({}, number, finish_reason=finish) for number in range(choices)]
    usage = {"prompt_tokens": 5, "completion_tokens": tokens * choices, "total_tokens": 0}
    return Reply([*parts, event({"choices": [], "usage": usage}), event("[DONE]")])


def json_reply(value: Any, *, status: int = 200) -> Reply:
    """A whole answer as JSON."""
    return Reply([json.dumps(value).encode()], status, "application/json")
