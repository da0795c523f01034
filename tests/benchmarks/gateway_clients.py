"""The clients of the gateway's benchmark.

python tests/benchmarks/gateway_clients.py '{"targets": {...}, ...}'

They stand for programs on other machines, but share this one's processors with what is measured.
So they run on libuv's loop, send bytes made before, and look for nothing in an answer but its first
token and its end until it has come whole.
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop

TOKEN = b" token"
END = b"0\r\n\r\n"
ANSWER_S = 60.0


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer: milliseconds until its first token, seconds of the whole, its tokens."""

    first_ms: float
    whole_s: float
    tokens: int


class Answering(asyncio.Protocol):
    """One connection, and the answer that comes on it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []
        self._first = 0.0
        self._done: asyncio.Future[None] | None = None

    async def ask(self, request: bytes) -> Answered:
        """Send this and wait for all of its answer."""
        transport = cast(asyncio.Transport, self._transport)
        self._parts, self._first, self._done = [], 0.0, self._loop.create_future()
        giving_up = self._loop.call_later(ANSWER_S, self.end, TimeoutError())
        began = time.perf_counter()
        transport.write(request)
        try:
            await self._done
        finally:
            giving_up.cancel()
        ended = time.perf_counter()
        whole = b"".join(self._parts)
        if b"[DONE]" not in whole or not whole.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(f"not an answer: {whole[:500]!r}")
        return Answered(1000 * (self._first - began), ended - began, whole.count(TOKEN))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open. What is written goes out at once."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(0)

    def data_received(self, data: bytes) -> None:
        """Keep a part of the answer."""
        self._parts.append(data)
        if not self._first and TOKEN in data:
            self._first = time.perf_counter()
        if data.endswith(END) or (len(data) < len(END) and b"".join(self._parts).endswith(END)):
            self.end()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        self.end(ConnectionError(f"the answer broke off: {b''.join(self._parts)[-500:]!r}"))

    def end(self, error: Exception | None = None) -> None:
        """The answer is over."""
        if self._done is None or self._done.done():
            return
        if error is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(error)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


class Client:
    """Sends one request after another on a connection that is kept."""

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
        self._connection: Answering | None = None

    async def ask(self) -> Answered:
        """Send the request and read its answer to the end."""
        if self._connection is None:
            _, self._connection = await asyncio.get_running_loop().create_connection(
                Answering, self._host, self._port
            )
        return await self._connection.ask(self._request)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


async def clients(plan: dict[str, Any]) -> None:
    """Ask all targets in turn, so that what disturbs one disturbs all; print what was measured.

    In each of `rounds`, `clients` connections send `each` requests, first to one target, then to
    the next one. `spread_ms`: the time over which their first requests are spread; all begin at
    the same instant without it.
    """
    count, each = int(plan["clients"]), int(plan["each"])
    step_s = float(plan.get("spread_ms", 0)) / 1000 / count
    firsts: dict[str, list[float]] = {name: [] for name in plan["targets"]}
    rates: dict[str, list[float]] = {name: [] for name in plan["targets"]}
    every = {
        name: [Client(target, plan["tokens"], plan["pause_ms"]) for _ in range(count)]
        for name, target in plan["targets"].items()
    }

    async def several(client: Client, place: int) -> list[Answered]:
        await asyncio.sleep(step_s * place)
        answers = [await client.ask() for _ in range(each)]
        client.close()  # servers close one that rests until its next turn
        return answers

    for number in range(plan["rounds"] + 1):
        for name, some in every.items():
            began = time.perf_counter()
            answers = await asyncio.gather(*(several(one, place) for place, one in enumerate(some)))
            took_s = time.perf_counter() - began
            if number:  # the first round warms up
                firsts[name] += [one.first_ms for part in answers for one in part]
                rates[name].append(sum(one.tokens for part in answers for one in part) / took_s)
    print(json.dumps({"first_ms": firsts, "tokens_per_s": rates}))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(clients(json.loads(sys.argv[1])))
