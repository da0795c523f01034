"""The processes of the gateway's benchmark: the upstream, the gateway, and the clients.

python tests/benchmarks/gateway_parts.py upstream
python tests/benchmarks/gateway_parts.py gateway FOLDER UPSTREAM_URL [PROFILE]
python tests/benchmarks/gateway_parts.py clients '{"targets": {...}, ...}'

The first two print one line of JSON when they are ready, and end with their standard input.
"""

import asyncio
import cProfile
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from roost_inference.http.listener import listening
from roost_platform.db.base.engine import Database
from roost_platform.db.gateway.key_admin import KeyAdmin, NewKey
from roost_platform.processes.serving import run_serving, settle_heap
from roost_platform.settings.config import load_settings
from roost_platform.wiring.models import open_gateway

MODEL = "scripted"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
READ_BYTES = 2**20
ANSWER_S = 60.0


def event(choices: list[Any], **more: Any) -> bytes:
    """One chunk of the upstream's answer, as a chunk of HTTP."""
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    data = b"data: " + json.dumps({**body, "choices": choices, **more}).encode() + b"\n\n"
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


FIRST = event([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
TOKEN = event([{"index": 0, "delta": {"content": " token"}, "finish_reason": None}])
LAST = event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
DONE = b"e\r\ndata: [DONE]\n\n\r\n"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer requests on one connection with as many tokens as they ask for.

    `seed` is the pause between two tokens in milliseconds; 0 sends them one after another.
    """
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = json.loads(await reader.readexactly(length))
            count, pause_s = int(body["max_tokens"]), int(body.get("seed") or 0) / 1000
            writer.write(HEAD + FIRST)
            begun = time.monotonic()
            for number in range(count):
                writer.write(TOKEN)
                if pause_s:
                    due = begun + pause_s * (number + 1)
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                elif number % 8 == 7:
                    await writer.drain()
                    await asyncio.sleep(0)
            usage = {"prompt_tokens": 9, "completion_tokens": count, "total_tokens": 9 + count}
            writer.write(LAST + event([], usage=usage) + DONE + END)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def upstream() -> None:
    """Serve scripted answers until the standard input ends."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await ready({"url": f"http://127.0.0.1:{port}"})


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


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer: milliseconds until its first token, seconds of the whole, its tokens."""

    first_ms: float
    whole_s: float
    tokens: int


class Connection:
    """A kept connection that sends one request after another, as few steps as can be."""

    def __init__(self, target: dict[str, str], tokens: int, pause_ms: int) -> None:
        url = urlsplit(target["url"])
        self._host, self._port = str(url.hostname), int(url.port or 80)
        body = {
            **{"model": target["model"], "stream": True, "max_tokens": tokens, "seed": pause_ms},
            "messages": [
                {"role": "system", "content": "You are helpful. " * 100},
                {"role": "user", "content": "Say something."},
            ],
        }
        data = json.dumps(body).encode()
        self._request = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: {url.netloc}\r\n"
            f"authorization: Bearer {target['key']}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(data)}\r\n\r\n"
        ).encode() + data
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self) -> Answered:
        """Send the request and read its answer to the end."""
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(
                self._host, self._port, limit=READ_BYTES
            )
        async with asyncio.timeout(ANSWER_S):
            began = time.perf_counter()
            self._writer.write(self._request)
            first, received = 0.0, b""
            while not received.endswith(END):
                part = await self._reader.read(READ_BYTES)
                if not part:
                    raise ConnectionError(f"the answer broke off: {received[-500:]!r}")
                received += part
                if not first and b" token" in received:
                    first = time.perf_counter()
        if b"[DONE]" not in received or not received.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(f"not an answer: {received[:500]!r}")
        ended = time.perf_counter()
        return Answered(1000 * (first - began), ended - began, received.count(b" token"))

    def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


async def clients(plan: dict[str, Any]) -> None:
    """Ask all targets in turn, so that what disturbs one disturbs all; print what was measured.

    In each of `rounds`, `clients` connections send `each` requests, first to one target, then to
    the next one. `spread_ms`: the time over which their first requests are spread; all begin at
    the same instant without it.
    """
    count, each = int(plan["clients"]), int(plan["each"])
    step_s = int(plan.get("spread_ms", 0)) / 1000 / count
    firsts: dict[str, list[float]] = {name: [] for name in plan["targets"]}
    rates: dict[str, list[float]] = {name: [] for name in plan["targets"]}
    connections = {
        name: [Connection(target, plan["tokens"], plan["pause_ms"]) for _ in range(count)]
        for name, target in plan["targets"].items()
    }

    async def several(connection: Connection, place: int) -> list[Answered]:
        await asyncio.sleep(step_s * place)
        answers = [await connection.ask() for _ in range(each)]
        connection.close()  # servers close one that rests until its next turn
        return answers

    for number in range(plan["rounds"] + 1):
        for name, opened in connections.items():
            began = time.perf_counter()
            answers = await asyncio.gather(
                *(several(one, place) for place, one in enumerate(opened))
            )
            took_s = time.perf_counter() - began
            if number:  # the first round warms up
                firsts[name] += [one.first_ms for some in answers for one in some]
                rates[name].append(sum(one.tokens for some in answers for one in some) / took_s)
    print(json.dumps({"first_ms": firsts, "tokens_per_s": rates}))


def main() -> None:
    """Run one of the parts."""
    match sys.argv[1:]:
        case ["upstream"]:
            asyncio.run(upstream())
        case ["gateway", folder, url]:
            run_serving(gateway(Path(folder), url))
        case ["gateway", folder, url, profile]:
            with cProfile.Profile() as profiler:
                run_serving(gateway(Path(folder), url))
            profiler.dump_stats(profile)
        case ["clients", plan]:
            asyncio.run(clients(json.loads(plan)))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
