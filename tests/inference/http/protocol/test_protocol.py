"""Requests that clients write in odd ways are read as HTTP says, or refused; none is mixed up."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from starlette.types import Receive, Scope, Send

from roost_inference.http.connections import ConnectionLimits
from roost_inference.http.listener import listening
from roost_inference.http.protocol.bounded import HEAD_BYTES_MAX

LIMITS = ConnectionLimits(head_s=5, body_s=5, unread_s=5)
HOST = b"host: localhost\r\n"
# A system throws an answer away whose client still sends when the connection closes.
REFUSED = (b"HTTP/1.1 431", b"")
CHUNKED = b"transfer-encoding: chunked\r\n"


class Echo:
    """Answers with the method, the path and the body; notes the headers."""

    def __init__(self) -> None:
        self.headers: list[dict[bytes, bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.headers.append(dict(scope["headers"]))
        await asyncio.sleep(0.02)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        text = f"[{scope['method']} {scope['path']} ".encode() + body + b"]"
        await send({"type": "http.response.body", "body": text})


@pytest.fixture
async def echo() -> AsyncIterator[tuple[Echo, int]]:
    app = Echo()
    async with listening(app, limits=LIMITS) as url:
        yield app, int(url.rpartition(":")[2])


async def talk(port: int, *parts: bytes, pause_s: float = 0.01) -> bytes:
    """All that is answered to these parts until the server closes, or is silent for long."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = b""
    try:
        with contextlib.suppress(ConnectionError):  # refused meanwhile
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause_s)
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(3):
                while data := await reader.read(65536):
                    got += data
    finally:
        writer.close()
    return got


CLOSE = b"connection: close\r\n"


async def test_a_request_is_the_same_in_one_piece_and_byte_by_byte(echo: tuple[Echo, int]) -> None:
    _, port = echo
    request = b"POST /a%20b?c HTTP/1.1\r\n" + HOST + CLOSE + b"content-length: 4\r\n\r\nbody"
    chunked = (
        b"POST /x HTTP/1.1\r\n" + HOST + CLOSE + CHUNKED + b"\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"
    )
    for whole, said in ((request, b"[POST /a b body]"), (chunked, b"[POST /x body]")):
        assert said in await talk(port, whole)
        each = (whole[i : i + 1] for i in range(len(whole)))
        assert said in await talk(port, *each, pause_s=0)


async def test_requests_that_come_together_are_answered_in_turn(echo: tuple[Echo, int]) -> None:
    _, port = echo
    post = b"POST /1 HTTP/1.1\r\n" + HOST + b"content-length: 3\r\n\r\none"
    get = b"GET /2 HTTP/1.1\r\n" + HOST + b"\r\n"
    last = b"GET /3 HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n"
    answer = await talk(port, post + get + last)
    places = [answer.find(one) for one in (b"[POST /1 one]", b"[GET /2 ]", b"[GET /3 ]")]
    assert places == sorted(places) and places[0] > 0


async def test_behind_a_body_in_chunks_no_next_request_is_read(echo: tuple[Echo, int]) -> None:
    app, port = echo
    chunked = b"POST /1 HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n1\r\nx\r\n0\r\n\r\n"
    answer = await talk(port, chunked + b"GET /2 HTTP/1.1\r\n" + HOST + b"\r\n" * 2)
    assert b"[POST /1 x]" in answer and answer.count(b"HTTP/1.1 ") == 1
    assert len(app.headers) == 1
    # Once the answer has been read, the connection is as good as any.
    assert b"[POST /1 x]" in await talk(port, chunked, chunked, pause_s=0.2)
    assert len(app.headers) == 3


async def test_a_client_that_offers_an_upgrade_is_answered_as_without(
    echo: tuple[Echo, int],
) -> None:
    _, port = echo
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    request = b"POST /j HTTP/1.1\r\n" + HOST + upgrade + b"content-length: 4\r\n\r\nbody"
    assert b"[POST /j body]" in await talk(port, request)


async def test_the_older_protocol_gets_an_answer_without_chunks(echo: tuple[Echo, int]) -> None:
    _, port = echo
    answer = await talk(port, b"GET /old HTTP/1.0\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n[GET /old ]") and b"chunked" not in answer


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST * 2 + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"bad header: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"x: a\0b\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 3\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"content-length: -3\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: gzip\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\nzz\r\n",
        b"CONNECT other:80 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
    ids=lambda one: repr(one)[2:40],
)
async def test_what_is_no_request_is_refused_and_the_connection_closes(
    echo: tuple[Echo, int], request_bytes: bytes
) -> None:
    _, port = echo
    answer = await talk(port, request_bytes)
    assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1 ") == 1


async def test_headers_behind_a_body_count_for_nothing_and_are_bounded(
    echo: tuple[Echo, int],
) -> None:
    app, port = echo
    head = b"POST / HTTP/1.1\r\n" + HOST + CHUNKED + CLOSE + b"\r\n1\r\nx\r\n0\r\n"
    assert b"[POST / x]" in await talk(port, head, b"authorization: Bearer x\r\n\r\n")
    assert b"authorization" not in app.headers[0]
    many = [b"x-trailer: " + b"y" * 4000 + b"\r\n"] * (HEAD_BYTES_MAX // 4000 + 3)
    assert (await talk(port, head, *many))[:12] in REFUSED
    extension = [b"1;x=" + b"y" * 4000, *[b"y" * 4000] * (HEAD_BYTES_MAX // 4000 + 3)]
    head = head.removesuffix(b"1\r\nx\r\n0\r\n")
    assert (await talk(port, head, *extension))[:12] in REFUSED
    assert len(app.headers) == 1  # the bodies of the others have no end


async def test_a_head_without_an_end_is_refused_by_its_size(echo: tuple[Echo, int]) -> None:
    _, port = echo
    line = b"x: " + b"y" * 4000 + b"\r\n"
    parts = [b"GET / HTTP/1.1\r\n" + HOST, *[line] * (HEAD_BYTES_MAX // 4000 + 2)]
    assert (await talk(port, *parts))[:12] in REFUSED
