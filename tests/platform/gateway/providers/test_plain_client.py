"""The client for plain HTTP: connections that are kept, and a bound for all that a provider sends.

The providers are servers on loopback that write what a test says.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from roost_inference.errors import EngineUnavailable
from roost_platform.gateway.providers.http import plain, plain_connection
from roost_platform.gateway.providers.http.plain import PlainClient
from roost_platform.gateway.providers.http.response import Response

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"content-length: 5\r\n\r\nhello"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
PATIENCE_S = 20.0
SHORT_S = 0.2

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Provider:
    """Answers each request of a connection by `answer`; notes connections and their ends."""

    def __init__(self) -> None:
        self.answer: Answer = writing(HELLO)
        self.requests: list[bytes] = []
        self.opened = 0
        self.ended = 0
        self.reads = asyncio.Event()
        self.reads.set()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.opened += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await self.reads.wait()
                self.requests.append(head + await reader.readexactly(int(length or 0)))
                await self.answer(writer)
                await writer.drain()
        self.ended += 1
        writer.close()


def writing(*parts: bytes, pause_s: float = 0.0, ends: bool = False) -> Answer:
    """An answer of these parts. ends: the connection ends behind it."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)
        if ends:
            writer.close()
            await writer.wait_closed()
            raise ConnectionResetError

    return answer


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    serving = Provider()
    server = await asyncio.start_server(serving.serve, "127.0.0.1", 0, limit=2**21)
    serving.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield serving
    server.close()
    await until(lambda: serving.ended == serving.opened)


@pytest.fixture
async def client(provider: Provider) -> AsyncIterator[PlainClient]:
    headers = {"accept-encoding": "identity", "authorization": "Bearer key"}
    opened = PlainClient(
        provider.url, headers, connect_s=SHORT_S, silence_s=PATIENCE_S, sending_s=PATIENCE_S
    )
    yield opened
    await opened.close()


async def ask(client: PlainClient, provider: Provider, content: bytes = b"{}") -> Response:
    return await client.ask("POST", f"{provider.url}/v1/chat", content, {"x-session-id": "s"})


async def body_of(response: Response) -> bytes:
    with contextlib.closing(response):
        return b"".join([part async for part in response.parts()])


async def test_a_request_has_its_headers_once_and_its_length(
    client: PlainClient, provider: Provider
) -> None:
    assert await body_of(await ask(client, provider)) == b"hello"
    got = await client.ask("GET", f"{provider.url}/a b?x=1&y=ä%20", None, {})
    assert await body_of(got) == b"hello"
    posted, asked = (one.decode().split("\r\n") for one in provider.requests)
    assert posted[0] == "POST /v1/chat HTTP/1.1"
    host = provider.url.removeprefix("http://")
    common = [f"host: {host}", "accept: */*", "accept-encoding: identity"]
    own = ["authorization: Bearer key", "x-session-id: s", "content-length: 2", "", "{}"]
    assert posted[1:] == [*common, *own]
    assert asked[0] == "GET /a%20b?x=1&y=%C3%A4%20 HTTP/1.1"
    assert asked[-3:] == ["authorization: Bearer key", "", ""]


async def test_a_header_with_a_line_break_is_an_error(
    client: PlainClient, provider: Provider
) -> None:
    with pytest.raises(EngineUnavailable, match="line break"):
        await client.ask("GET", provider.url, None, {"x-session-id": "s\r\nx-other: 1"})
    assert provider.opened == 0


async def test_a_connection_is_kept_for_the_next_call(
    client: PlainClient, provider: Provider
) -> None:
    chunked = CHUNKED + b"5;a=b\r\nhello\r\n0\r\ntrailer: 1\r\n\r\n"
    nothing = b"HTTP/1.1 204 No Content\r\n\r\n"
    for answer, body in ((HELLO, b"hello"), (chunked, b"hello"), (nothing, b""), (HELLO, b"hello")):
        provider.answer = writing(answer)
        assert await body_of(await ask(client, provider)) == body
    assert provider.opened == 1


async def test_calls_at_once_have_connections_of_their_own(
    client: PlainClient, provider: Provider
) -> None:
    responses = await asyncio.gather(*(ask(client, provider) for _ in range(5)))
    assert [await body_of(one) for one in responses] == [b"hello"] * 5
    assert provider.opened == 5


@pytest.mark.parametrize(
    "answer",
    [
        writing(OK + b"connection: close\r\ncontent-length: 5\r\n\r\nhello"),
        writing(b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello"),
        writing(HELLO, ends=True),
        writing(OK + b"\r\nhel", b"lo", ends=True),
        writing(HELLO + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"),
        writing(HELLO + b"and more"),
    ],
    ids=["close", "1.0", "ended", "until its end", "a second answer", "bytes behind it"],
)
async def test_a_connection_that_can_t_be_used_again_is_not(
    client: PlainClient, provider: Provider, answer: Answer
) -> None:
    provider.answer = answer
    assert await body_of(await ask(client, provider)) == b"hello"
    await until(lambda: provider.ended == 1)
    provider.answer = writing(HELLO)
    assert await body_of(await ask(client, provider)) == b"hello"
    assert provider.opened == 2


async def test_what_comes_unasked_on_a_kept_connection_ends_it(
    client: PlainClient, provider: Provider
) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(HELLO)
        await asyncio.sleep(SHORT_S)
        writer.write(HELLO.replace(b"hello", b"evil!"))

    provider.answer = answer
    assert await body_of(await ask(client, provider)) == b"hello"
    await until(lambda: provider.ended == 1)
    provider.answer = writing(HELLO)
    assert await body_of(await ask(client, provider)) == b"hello"


async def test_a_connection_that_nobody_uses_is_closed(
    client: PlainClient, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain, "IDLE_S", 0.05)
    first, second = await ask(client, provider), await ask(client, provider)
    await body_of(first)
    await asyncio.sleep(0.03)
    await body_of(second)
    await until(lambda: provider.ended == 2)
    assert await body_of(await ask(client, provider)) == b"hello"
    assert provider.opened == 3


async def test_who_closes_an_answer_before_its_end_closes_the_connection(
    client: PlainClient, provider: Provider
) -> None:
    provider.answer = writing(OK + b"content-length: 10\r\n\r\nhello")
    response = await ask(client, provider)
    assert await anext(response.parts()) == b"hello" and not response.is_ended
    response.close()
    response.close()
    await until(lambda: provider.ended == 1)


async def test_a_call_that_is_cancelled_closes_its_connection(
    client: PlainClient, provider: Provider
) -> None:
    provider.answer = writing(b"HTTP/1.1 2")
    asking = asyncio.create_task(ask(client, provider))
    await until(lambda: provider.requests)
    asking.cancel()
    await asyncio.wait([asking])
    await until(lambda: provider.ended == 1)


LINE = b"x-filler: " + b"y" * 1000 + b"\r\n"
NO_HTTP = {
    "no head": writing(b"nonsense\r\n\r\n"),
    "a long head": writing(OK, *[LINE] * 200),
    "many lines": writing(OK + b"x: y\r\n" * 300 + b"\r\n"),
    "interim answers": writing(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 9 + HELLO),
    "another protocol": writing(
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"
    ),
    "two lengths": writing(OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!"),
    "a length and chunks": writing(CHUNKED[:-2] + b"content-length: 5\r\n\r\n5\r\nhello\r\n"),
}


@pytest.mark.parametrize("name", NO_HTTP)
async def test_what_is_no_http_is_an_error_and_ends_the_connection(
    client: PlainClient, provider: Provider, name: str
) -> None:
    provider.answer = NO_HTTP[name]
    with pytest.raises(EngineUnavailable, match="was lost"):
        await body_of(await ask(client, provider))
    await until(lambda: provider.ended == 1)


async def test_interim_answers_are_passed_over(client: PlainClient, provider: Provider) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nx-early: 1\r\n\r\n"
    provider.answer = writing(hints, hints + HELLO[:10], HELLO[10:], pause_s=0.01)
    response = await ask(client, provider)
    assert response.status == 200 and "x-early" not in response.headers
    assert await body_of(response) == b"hello"


async def test_a_head_may_come_byte_by_byte_and_without_carriage_returns(
    client: PlainClient, provider: Provider
) -> None:
    head = b"\r\n" + HELLO.replace(b"\r\n", b"\n").replace(b"content", b"X-A: 1 \nx-a: 2\nCONTENT")
    provider.answer = writing(*(head[at : at + 1] for at in range(len(head))))
    response = await ask(client, provider)
    assert (response.headers["x-a"], response.headers["content-length"]) == ("1", "5")
    assert await body_of(response) == b"hello"


@pytest.mark.parametrize(
    ("parts", "came"),
    [
        ((OK + b"content-length: 99\r\n\r\nhello",), b"hello"),
        ((CHUNKED + b"5\r\nhello\r\n", b"no size\r\n"), b"hello"),
        ((CHUNKED + b"5\r\nhello\r\n",), b"hello"),
    ],
    ids=["a length", "a broken chunk", "chunks"],
)
async def test_what_came_before_an_answer_broke_off_is_told_first(
    client: PlainClient, provider: Provider, parts: tuple[bytes, ...], came: bytes
) -> None:
    provider.answer = writing(*parts, pause_s=0.02, ends=True)
    response = await ask(client, provider)
    with contextlib.closing(response):
        assert await anext(response.parts()) == came
        with pytest.raises(EngineUnavailable, match="was lost"):
            await anext(response.parts())


@pytest.mark.parametrize(
    "drop", [b"5;" + b"e" * 500, b"0\r\n" + b"t: 1\r\n" * 100], ids=["extensions", "trailers"]
)
async def test_what_stands_between_the_parts_of_a_body_has_a_bound(
    client: PlainClient, provider: Provider, drop: bytes
) -> None:
    rest = drop[2:] if drop.startswith(b"5") else drop[3:]
    provider.answer = writing(CHUNKED + drop, *[rest] * 200)
    with pytest.raises(EngineUnavailable, match="not HTTP"):
        await body_of(await ask(client, provider))


async def test_a_silence_is_a_timeout_and_extensions_of_chunks_are_one(provider: Provider) -> None:
    client = PlainClient(provider.url, {}, connect_s=1, silence_s=SHORT_S, sending_s=1)
    for answer in (writing(), writing(b"HTTP/1.1 ", *[b"2"] * 50, pause_s=0.05)):
        provider.answer = answer
        with pytest.raises(TimeoutError):
            await ask(client, provider)
    provider.answer = writing(CHUNKED + b"5\r\nhello\r\n5;", *[b"e"] * 50, pause_s=0.05)
    response = await ask(client, provider)
    with contextlib.closing(response):
        assert await anext(response.parts()) == b"hello"
        with pytest.raises(TimeoutError):
            await anext(response.parts())
    await client.close()


async def test_a_body_may_last_longer_than_a_silence(provider: Provider) -> None:
    client = PlainClient(provider.url, {}, connect_s=1, silence_s=0.5, sending_s=1)
    provider.answer = writing(OK + b"content-length: 20\r\n\r\n", *[b"x"] * 20, pause_s=0.05)
    began = time.monotonic()
    assert await body_of(await ask(client, provider)) == b"x" * 20
    assert time.monotonic() - began > 0.5
    await client.close()


async def test_a_provider_waits_for_a_slow_reader(client: PlainClient, provider: Provider) -> None:
    sent = 0

    async def answer(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(OK + b"\r\n")
        for _ in range(400):
            writer.write(bytes(2**18))
            await writer.drain()
            sent += 2**18
        writer.close()

    provider.answer = answer
    response = await ask(client, provider)
    await asyncio.sleep(0.5)
    assert sent < 50 * 2**20  # sockets hold some megabytes
    assert len(await body_of(response)) == 400 * 2**18


async def test_a_large_request_arrives_whole(client: PlainClient, provider: Provider) -> None:
    content = bytes(range(256)) * 8192
    provider.reads.clear()
    asking = asyncio.create_task(ask(client, provider, content))
    await asyncio.sleep(0.05)
    provider.reads.set()
    assert await body_of(await asking) == b"hello"
    assert provider.requests[0].endswith(b"\r\n\r\n" + content)
    assert await body_of(await ask(client, provider)) == b"hello"
    assert provider.opened == 1


async def test_an_answer_before_the_end_of_a_large_request_counts(
    client: PlainClient, provider: Provider
) -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlarge"
    left = asyncio.Event()

    async def refusing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(refusal)
        await left.wait()
        writer.close()

    server = await asyncio.start_server(refusing, "127.0.0.1", 0, limit=2**16)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    other = PlainClient(url, {}, connect_s=1, silence_s=PATIENCE_S, sending_s=PATIENCE_S)
    response = await other.ask("POST", url, bytes(64 * 2**20), {})
    assert (response.status, await body_of(response)) == (413, b"large")
    assert not other._idle
    left.set()
    await other.close()
    server.close()


async def test_a_large_request_that_nobody_reads_is_a_timeout(provider: Provider) -> None:
    client = PlainClient(provider.url, {}, connect_s=1, silence_s=PATIENCE_S, sending_s=SHORT_S)
    provider.reads.clear()
    with pytest.raises(TimeoutError):
        await ask(client, provider, bytes(64 * 2**20))
    provider.reads.set()
    await client.close()


async def test_connections_have_a_bound_and_a_call_waits_for_one(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain, "CONNECTIONS_MAX", 1)
    client = PlainClient(
        provider.url, {}, connect_s=SHORT_S, silence_s=PATIENCE_S, sending_s=PATIENCE_S
    )
    first = await ask(client, provider)
    with pytest.raises(EngineUnavailable, match="does not answer"):
        await ask(client, provider)
    waiting = asyncio.create_task(ask(client, provider))
    await asyncio.sleep(0)
    assert await body_of(first) == b"hello"
    assert await body_of(await waiting) == b"hello"
    assert provider.opened == 1
    await client.close()


async def test_a_provider_that_is_not_there_is_told_without_its_address() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    url = f"http://127.0.0.1:{port}"
    client = PlainClient(url, {}, connect_s=1, silence_s=1, sending_s=1)
    with pytest.raises(EngineUnavailable, match="can't be reached") as refused:
        await client.ask("GET", url, None, {})
    assert "127.0.0.1" not in refused.value.message
    await client.close()


async def test_closing_the_client_ends_every_call(client: PlainClient, provider: Provider) -> None:
    provider.answer = writing(OK + b"content-length: 9\r\n\r\nhello")
    response = await ask(client, provider)
    await client.close()
    assert await anext(response.parts()) == b"hello"
    with pytest.raises(EngineUnavailable, match="was lost"):
        await anext(response.parts())
    response.close()
    await until(lambda: provider.ended == 1)


def test_the_bounds_of_a_body_fit_together() -> None:
    assert plain_connection.BETWEEN_BYTES_MAX < plain_connection.HEAD_BYTES_MAX
