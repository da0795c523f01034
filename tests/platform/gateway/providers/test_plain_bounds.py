"""The client for plain HTTP has a bound for all that a provider sends, or does not read."""

import asyncio
import contextlib
import time

import pytest
from tests.platform.gateway.providers.provider import (
    CHUNKED,
    HELLO,
    OK,
    PATIENCE_S,
    SHORT_S,
    Provider,
    ask,
    body_of,
    until,
    writing,
)

from roost_inference.errors import EngineUnavailable
from roost_inference.testing.raw_server import raw_server
from roost_platform.gateway.providers.http.plain import PlainClient

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

    async def refusing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(refusal)
        await asyncio.Event().wait()

    async with raw_server(refusing) as url:
        other = PlainClient(url, {}, connect_s=1, silence_s=PATIENCE_S, sending_s=PATIENCE_S)
        response = await other.ask("POST", url, bytes(64 * 2**20), {})
        assert (response.status, await body_of(response)) == (413, b"large")
        assert not other._idle
        await other.close()


async def test_a_large_request_that_nobody_reads_is_a_timeout(provider: Provider) -> None:
    client = PlainClient(provider.url, {}, connect_s=1, silence_s=PATIENCE_S, sending_s=SHORT_S)
    provider.reads.clear()
    with pytest.raises(TimeoutError):
        await ask(client, provider, bytes(64 * 2**20))
    provider.reads.set()
    await client.close()
