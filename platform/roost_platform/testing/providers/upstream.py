"""A provider on a port of loopback that does what a test says, and notes when its clients leave."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from roost_inference.testing.raw_server import raw_server

BODY_MAX = 64 * 2**20
BEAT_S = 0.02


@dataclass(frozen=True, slots=True)
class Act:
    """One answer. before_s: the wait before its head; body or events follow it. then: the answer
    ends, the connection breaks, or nothing more comes until the client leaves. head: whether the
    head is sent before a hang without events. beats: sent again and again while it hangs.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    events: Sequence[Any] = ()
    before_s: float = 0.0
    then: Literal["end", "drop", "hang"] = "end"
    head: bool = True
    beats: str = ""


def delta(text: str = "", **fields: Any) -> dict[str, Any]:
    """A chunk of chat completions with this text."""
    choice = {"index": 0, "delta": {"content": text, **fields}, "finish_reason": None}
    return {"id": "chatcmpl-1", "model": "upstream", "choices": [choice]}


def said(*texts: str) -> list[Any]:
    """The events of a whole answer in these pieces, with its usage."""
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 7, "completion_tokens": len(texts), "total_tokens": 7 + len(texts)}
    return [
        *(delta(text) for text in texts),
        {"id": "chatcmpl-1", "model": "upstream", "choices": [end]},
        {"id": "chatcmpl-1", "model": "upstream", "choices": [], "usage": usage},
        "[DONE]",
    ]


def refused(
    status: int, message: str, headers: Mapping[str, str] | None = None, **more: Any
) -> Act:
    """An error in OpenAI's form."""
    body = json.dumps({"error": {"message": message, "type": "x", "param": None, **more}})
    return Act(status, {"content-type": "application/json", **(headers or {})}, body.encode())


class Upstream:
    """Answers each request by the next act; the last one repeats.

    listed: the answer to GET. requests: bodies of POST, oldest first. headers: theirs.
    left_at: monotonic seconds at which clients closed a connection whose answer had not ended.
    """

    def __init__(self, *acts: Act, models: Sequence[str] = ("upstream",)) -> None:
        self.acts = list(acts) or [Act(events=said("Hello"))]
        entries = [{"id": name, "object": "model"} for name in models]
        listed = json.dumps({"object": "list", "data": entries}).encode()
        self.listed = Act(body=listed, headers={"content-type": "application/json"})
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.left_at: list[float] = []
        self.base_url = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in head[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        size = min(int(headers.get("content-length", 0)), BODY_MAX)
        body = await reader.readexactly(size)
        if head[0].startswith("GET"):
            act = self.listed
        else:
            self.requests.append(json.loads(body))
            self.headers.append(headers)
            act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
        await self._do(act, reader, writer)

    async def _do(
        self, act: Act, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await asyncio.sleep(act.before_s)
        if act.head:
            kind = {"content-type": "text/event-stream"} if act.events or not act.body else {}
            lines = [f"HTTP/1.1 {act.status} X", "connection: close"]
            lines += [f"{name}: {value}" for name, value in {**kind, **act.headers}.items()]
            writer.write("\r\n".join([*lines, "", ""]).encode() + act.body)
        for event in act.events:
            text = event if isinstance(event, str) else json.dumps(event)
            writer.write(f"data: {text}\n\n".encode())
        await writer.drain()
        if act.then == "hang":
            with contextlib.suppress(ConnectionError):
                while act.beats and not reader.at_eof():
                    writer.write(f"data: {act.beats}\n\n".encode())
                    await writer.drain()
                    await asyncio.sleep(BEAT_S)
                await reader.read()
            self.left_at.append(time.monotonic())
        elif act.then == "drop":
            await asyncio.sleep(0.05)  # what was sent reaches the client first
            writer.transport.abort()


@contextlib.asynccontextmanager
async def upstream(*acts: Act, models: Sequence[str] = ("upstream",)) -> AsyncIterator[Upstream]:
    """Serve such a provider."""
    provider = Upstream(*acts, models=models)
    async with raw_server(provider._serve) as url:
        provider.base_url = f"{url}/v1"
        yield provider
