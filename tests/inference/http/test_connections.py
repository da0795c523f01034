"""Clients that hold connections open, send half a request or read nothing harm nobody else."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from roost_inference.http.connections import ConnectionLimits, raise_descriptor_limit
from roost_inference.http.listener import listening
from roost_inference.http.log_limit import REPEATS_MAX, WINDOW_S, RepeatLimit
from roost_inference.http.protocol.bounded import HEAD_LINES_MAX

HEAD = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
QUICK = ConnectionLimits(connections=24, per_address=8, head_s=0.3, body_s=0.3, unread_s=0.3)
OPEN: list[asyncio.StreamWriter] = []
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class App:
    """Answers after the body; `/hold` when told to; `/stream` slowly; `/flood` without end."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.left = asyncio.Event()
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left.set()
                return
            if not message.get("more_body"):
                break
        if scope["path"] == "/hold":
            self.held += 1
            await self.release.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/stream":
            for _ in range(10):
                await asyncio.sleep(0.1)
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
        if scope["path"] == "/flood":
            while True:
                leaving = asyncio.ensure_future(receive())
                flood = {"type": "http.response.body", "body": b"x" * 2**20, "more_body": True}
                sending = asyncio.ensure_future(send(flood))
                await asyncio.wait((leaving, sending), return_when=asyncio.FIRST_COMPLETED)
                if leaving.done():
                    self.left.set()
                    return
                leaving.cancel()
        await send({"type": "http.response.body", "body": b"done"})


@pytest.fixture(autouse=True)
async def closing() -> AsyncIterator[None]:
    yield
    while OPEN:
        writer = OPEN.pop()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def served(limits: ConnectionLimits = QUICK) -> AsyncIterator[tuple[App, str, int]]:
    app = App()
    async with listening(app, limits=limits) as url:
        yield app, url, int(url.rpartition(":")[2])
        app.release.set()


async def connected(port: int, data: bytes = b"") -> Connection:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    OPEN.append(writer)
    writer.write(data)
    await writer.drain()
    return reader, writer


async def rest(connection: Connection) -> bytes:
    """What comes until the server closes."""
    with contextlib.suppress(ConnectionError):
        return await connection[0].read()
    return b"reset"


async def test_a_silent_connection_is_closed() -> None:
    async with served() as (_, _, port):
        assert await rest(await connected(port)) == b""


async def test_half_a_head_and_half_a_body_are_answered_408() -> None:
    async with served() as (app, _, port):
        assert (await rest(await connected(port, GET[:20]))).startswith(b"HTTP/1.1 408")
        assert (await rest(await connected(port, HEAD + b"half"))).startswith(b"HTTP/1.1 408")
        await app.left.wait()


async def test_answers_of_the_port_itself_bear_the_id_of_their_request() -> None:
    mine = b"x-request-id: mine-7\r\n"
    half, long_head = GET[:-2] + mine + b"x: ", GET[:-2] + mine + b"x: y\r\n" * 20_000
    slow_body = HEAD.replace(b"\r\n\r\n", b"\r\nX-Request-ID:  mine-7 \r\n\r\n") + b"half"
    wrong = GET[:-2] + mine + b"no colon\r\n\r\n"
    async with served() as (_, _, port):
        statuses = {b"408": [half, slow_body], b"431": [long_head], b"400": [wrong]}
        for status, requests in statuses.items():
            for data in requests:
                answer = await rest(await connected(port, data))
                assert answer.startswith(b"HTTP/1.1 " + status), data[:80]
                assert b"\r\nx-request-id: mine-7\r\n" in answer
        for data in (GET[:20], half.replace(b"mine-7", b"not mine"), GET[:-2] + mine[:-3]):
            answer = await rest(await connected(port, data))
            assert answer.startswith(b"HTTP/1.1 408") and b"\r\nx-request-id: req_" in answer
        # Of the second request on a connection, not of the first one.
        answer = await rest(await connected(port, GET[:-2] + mine + b"\r\n" + GET[:20]))
        assert b"HTTP/1.1 408" in answer and b"x-request-id: req_" in answer


async def test_a_head_of_very_many_lines_is_refused_unparsed() -> None:
    longest = GET[:-2] + b"x: y\r\n" * (HEAD_LINES_MAX - 2) + b"\r\n"
    async with served() as (_, _, port):
        assert (await rest(await connected(port, longest))).startswith(b"HTTP/1.1 200")
        more = GET[:-2] + b"x: y\r\n" * 20_000
        assert (await rest(await connected(port, more))).startswith(b"HTTP/1.1 431")
        # A second request that comes along with the first one has the same bound.
        answer = await rest(await connected(port, GET + more + b"\r\n"))
        assert answer.startswith(b"HTTP/1.1 200") and b"HTTP/1.1 431" in answer
        lines = b"\n" * 10_000
        body = HEAD.replace(b"10\r", b"10000\r") + lines
        assert (await rest(await connected(port, body))).startswith(b"HTTP/1.1 200")


async def test_a_head_that_drips_gains_no_time() -> None:
    async with served() as (_, _, port):
        reader, writer = await connected(port)
        with contextlib.suppress(ConnectionError):
            for byte in GET[:20]:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.05)
        assert (await rest((reader, writer)))[:12] in (b"HTTP/1.1 408", b"reset")


async def test_a_body_after_an_early_refusal_must_end_too() -> None:
    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"no"})

    async with listening(refusing, limits=QUICK) as url:
        reader, writer = await connected(int(url.rpartition(":")[2]), HEAD)
        with contextlib.suppress(ConnectionError):
            for _ in range(9):
                writer.write(b"x")
                await asyncio.sleep(0.1)
        assert (await rest((reader, writer)))[:12] in (b"HTTP/1.1 401", b"reset")


async def test_long_answers_and_long_work_outlive_every_limit() -> None:
    async with served() as (app, url, _), httpx2.AsyncClient(base_url=url, trust_env=False) as http:
        held = asyncio.ensure_future(http.post("/hold", content=b"x" * 100_000))
        stream = await http.get("/stream")
        assert stream.text == "x" * 10 + "done"
        app.release.set()
        assert (await held).text == "done"
        assert (await http.get("/")).text == "done"


async def test_silent_connections_make_room_for_requests() -> None:
    patient = ConnectionLimits(connections=24, per_address=8, head_s=60, body_s=60)
    async with (
        served(patient) as (_, url, port),
        httpx2.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        silent = [await connected(port, data) for data in (b"", GET[:9], HEAD) * 20]
        assert (await http.get("/")).text == "done"
        gone = [one for one in silent if one[0].at_eof() or one[0].exception()]
        assert len(gone) >= len(silent) - patient.per_address


async def test_an_address_with_too_many_requests_under_way_is_refused_until_one_ends() -> None:
    async with (
        served() as (app, url, port),
        httpx2.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        busy = [await connected(port, GET.replace(b"/ ", b"/hold ")) for _ in range(8)]
        while app.held < len(busy):
            await asyncio.sleep(0.01)
        refusal = await rest(await connected(port, GET))
        assert refusal.startswith(b"HTTP/1.1 503") or refusal == b"reset"
        assert b"\r\nx-request-id: req_" in refusal or refusal == b"reset"
        app.release.set()
        assert (await busy[0][0].readline()).startswith(b"HTTP/1.1 200")
        while (await http.get("/")).status_code != 200:
            await asyncio.sleep(0.01)


async def test_addresses_that_many_share_are_bounded_by_the_whole_port_alone() -> None:
    shared = ConnectionLimits(connections=24, per_address=8, shares_address=lambda _: True)
    async with served(shared) as (app, _, port):
        busy = [await connected(port, GET.replace(b"/ ", b"/hold ")) for _ in range(24)]
        while app.held < len(busy):
            await asyncio.sleep(0.01)
        refusal = await rest(await connected(port, GET))
        assert refusal.startswith(b"HTTP/1.1 503") or refusal == b"reset"
        app.release.set()


async def test_a_client_that_reads_nothing_is_left() -> None:
    async with served() as (app, _, port):
        await connected(port, GET.replace(b"/ ", b"/flood "))
        await app.left.wait()


def test_a_line_that_strangers_cause_is_written_ten_times_a_minute() -> None:
    now = [0.0]
    limit = RepeatLimit(lambda: now[0])

    def line(text: str) -> logging.LogRecord:
        return logging.LogRecord("x", logging.WARNING, "x", 1, text, (), None)

    assert sum(limit.filter(line("flood")) for _ in range(500)) == REPEATS_MAX
    assert limit.filter(line("another"))
    now[0] = WINDOW_S
    record = line("flood")
    assert limit.filter(record)
    assert record.getMessage() == f"flood (and {500 - REPEATS_MAX} more like this)"


def test_a_process_may_open_as_many_files_as_the_system_allows() -> None:
    assert raise_descriptor_limit() >= QUICK.connections
