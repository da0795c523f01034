"""The processes of the gateway's benchmark: the upstream, the gateway, and a relay without logic.

python tests/benchmarks/gateway_parts.py upstream
python tests/benchmarks/gateway_parts.py gateway FOLDER UPSTREAM_URL [PROFILE]
python tests/benchmarks/gateway_parts.py relay UPSTREAM_URL

Each prints one line of JSON when it is ready, and ends with its standard input. The upstream stands
for an engine on another machine, but shares this one's processors with what is measured: it runs on
libuv's loop and sends bytes made before.
"""

import asyncio
import cProfile
import json
import sys
from pathlib import Path
from typing import Any, cast

from roost_inference.http.listener import listening
from roost_platform.db.base.engine import Database
from roost_platform.db.gateway.key_admin import KeyAdmin, NewKey
from roost_platform.processes.serving import run_serving, settle_heap
from roost_platform.settings.config import load_settings
from roost_platform.wiring.models import open_gateway

MODEL = "scripted"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
TOKENS_AT_ONCE = 8


def event(choices: list[Any], **more: Any) -> bytes:
    """One chunk of the upstream's answer, as a chunk of HTTP."""
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    data = b"data: " + json.dumps({**body, "choices": choices, **more}).encode() + b"\n\n"
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


FIRST = event([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
TOKEN = event([{"index": 0, "delta": {"content": " token"}, "finish_reason": None}])
LAST = event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
DONE = b"e\r\ndata: [DONE]\n\n\r\n"


class Answers(asyncio.Protocol):
    """Answers requests on one connection with as many tokens as they ask for.

    `seed` is the pause between two tokens in milliseconds; 0 sends them one after another.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._left = self._count = 0
        self._due = self._pause_s = 0.0
        self._timer: asyncio.Handle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open. What is written goes out at once."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(0)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Begin to answer once the request has come whole."""
        self._received += data
        head, _, body = self._received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._received = b""
        asked = json.loads(body)
        self._left = self._count = int(asked["max_tokens"])
        self._pause_s = int(asked.get("seed") or 0) / 1000
        self._due = self._loop.time()
        self._send(HEAD + FIRST)
        self._next()

    def _next(self) -> None:
        """Send the next token, or all that is left."""
        if self._left == 0:
            count = self._count
            usage = {"prompt_tokens": 9, "completion_tokens": count, "total_tokens": 9 + count}
            self._send(LAST + event([], usage=usage) + DONE + END)
        elif self._pause_s:
            self._left -= 1
            self._send(TOKEN)
            self._due += self._pause_s
            self._timer = self._loop.call_at(self._due, self._next)
        else:
            for _ in range(min(self._left, TOKENS_AT_ONCE)):
                self._left -= 1
                self._send(TOKEN)
            self._timer = self._loop.call_soon(self._next)

    def _send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


async def upstream() -> None:
    """Serve scripted answers until the standard input ends."""
    server = await asyncio.get_running_loop().create_server(Answers, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await ready({"url": f"http://127.0.0.1:{port}"})


class Relay(asyncio.Protocol):
    """Passes bytes between a client and the upstream, and knows nothing of them."""

    def __init__(self, port: int, other: "Relay | None" = None) -> None:
        self._port = port
        self._other = other
        self._transport: asyncio.Transport | None = None
        self._waiting: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(0)
        if self._other is None:
            loop = asyncio.get_running_loop()
            self._opening = loop.create_task(
                loop.create_connection(lambda: Relay(self._port, self), "127.0.0.1", self._port)
            )
            return
        self._other._other = self
        for data in self._other._waiting:
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        if self._other is None or self._other._transport is None:
            self._waiting.append(data)
        else:
            self._other._transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """One side is closed, so the other one is as well."""
        self._transport = None
        if self._other is not None and self._other._transport is not None:
            self._other._transport.close()


async def relay(upstream_url: str) -> None:
    """Serve what a process in between costs that does nothing."""
    upstream_port = int(upstream_url.rpartition(":")[2])
    server = await asyncio.get_running_loop().create_server(
        lambda: Relay(upstream_port), "127.0.0.1", 0
    )
    await ready({"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"})


async def gateway(folder: Path, upstream_url: str) -> None:
    """Serve the gateway over SQLite, with a key that has a budget."""
    given: dict[str, Any] = {
        "data_dir": folder,
        "providers": {"upstream": {"base_url": f"{upstream_url}/v1"}},
        "models": {"fast": {"targets": [f"upstream/{MODEL}"]}},
    }
    settings = load_settings(given, environ={})
    database = Database(f"sqlite:///{folder / 'roost.db'}")
    await database.migrate()
    try:
        wanted = NewKey("bench", budget_microusd=10**12, budget_tokens=10**12, period="month")
        _, secret = await KeyAdmin(database).create(wanted, "bench")
        async with open_gateway(settings, database) as app, listening(app) as url:
            settle_heap()
            await ready({"url": url, "key": secret})
    finally:
        await database.close()


async def ready(facts: dict[str, Any]) -> None:
    """Say where to reach us, and wait for the end of the standard input."""
    print(json.dumps(facts), flush=True)
    await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    """Run one of the parts."""
    match sys.argv[1:]:
        case ["upstream"]:
            run_serving(upstream())
        case ["relay", url]:
            run_serving(relay(url))
        case ["gateway", folder, url]:
            run_serving(gateway(Path(folder), url))
        case ["gateway", folder, url, profile]:
            with cProfile.Profile() as profiler:
                run_serving(gateway(Path(folder), url))
            profiler.dump_stats(profile)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
