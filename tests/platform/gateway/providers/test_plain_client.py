"""The client for plain HTTP keeps connections, and uses none again that it may not."""

import asyncio

import pytest
from tests.platform.gateway.providers.provider import (
    CHUNKED,
    HELLO,
    OK,
    PATIENCE_S,
    SHORT_S,
    Answer,
    Provider,
    ask,
    body_of,
    until,
    writing,
)

from roost_inference.errors import EngineUnavailable
from roost_platform.gateway.providers.http import plain, plain_connection
from roost_platform.gateway.providers.http.plain import PlainClient


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
