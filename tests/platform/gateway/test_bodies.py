"""Bodies that are too large, too deep or no JSON are refused before they cost others anything."""

import asyncio
import gzip
import json
import threading
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from roost_inference.errors import BodyTooLarge, InvalidRequest
from roost_platform.gateway import exchange
from roost_platform.gateway.encoding import encode
from roost_platform.gateway.errors import EncodedBody, Overloaded, RateLimited
from roost_platform.gateway.exchange import Exchange
from roost_platform.gateway.guards import bodies
from roost_platform.gateway.guards.admission import BODIES, Admission
from roost_platform.gateway.guards.bodies import (
    HEAVY_BYTES,
    JSON_VALUES_MAX,
    parse_object,
    read_object,
)
from roost_platform.gateway.providers.encoding import encode_in_parts
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server

LIMIT = 64 * 1024
CHAT = "/v1/chat/completions"
HELLO = {"model": "fast", "messages": [{"role": "user", "content": "say Hello there"}]}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayServer]:
    bounds = {"gateway": {"max_body_bytes": LIMIT}}
    async with gateway_server(tmp_path, overrides=bounds) as server:
        yield server


class Client:
    """A client of one exchange: what it sends, and how much of it was taken."""

    def __init__(self, parts: Iterable[bytes], **headers: str) -> None:
        self._parts = iter(parts)
        self.taken = 0
        self.answered: list[Message] = []
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        scope: dict[str, Any] = {
            "type": "http",
            "path": CHAT,
            "method": "POST",
            "headers": [(name.encode(), value.encode()) for name, value in names.items()],
        }
        self.exchange = Exchange(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        part = next(self._parts, None)
        if part is None:
            return {"type": "http.request", "body": b"", "more_body": False}
        self.taken += len(part)
        return {"type": "http.request", "body": part, "more_body": True}

    async def _send(self, message: Message) -> None:
        self.answered.append(dict(message))


async def test_s12_a_body_that_says_it_is_too_large_is_refused_unread() -> None:
    client = Client([b"x" * 1000] * 100, content_length=str(LIMIT + 1))
    with pytest.raises(BodyTooLarge):
        await client.exchange.body(LIMIT)
    assert client.taken == 0


async def test_s12_a_chunked_body_is_kept_up_to_its_limit_alone() -> None:
    kept = 0

    def grow(size: int) -> None:
        nonlocal kept
        kept += size

    client = Client([b"x" * 1000] * 10**6, transfer_encoding="chunked")
    with pytest.raises(BodyTooLarge):
        client.exchange.grow = grow
        await client.exchange.body(LIMIT)
    assert kept <= LIMIT < client.taken <= LIMIT + 1000


async def test_a_refused_client_is_answered_first_and_then_listened_to_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exchange, "LINGER_BYTES_MAX", 10 * LIMIT)
    client = Client([b"x" * 1000] * 10**6, transfer_encoding="chunked")
    with pytest.raises(BodyTooLarge):
        await client.exchange.body(LIMIT)
    await client.exchange.answer({"error": {}}, status=413)
    start, body, end = client.answered
    assert (b"connection", b"close") in start["headers"]
    assert body["more_body"] and not end["more_body"]
    assert 10 * LIMIT <= client.taken <= 10 * LIMIT + 1000


async def test_s12_strangers_are_listened_to_only_where_little_is_announced() -> None:
    for headers, taken in (
        ({"content_length": "5000"}, 5000),
        ({"content_length": str(exchange.STRANGERS_BYTES_MAX + 1)}, 0),
        ({"transfer_encoding": "chunked"}, 0),
        ({"content_length": "5000", "expect": "100-continue"}, 0),
    ):
        client = Client([b"x" * 1000] * 5, **headers)
        await client.exchange.answer({"error": {}}, status=401)
        assert client.taken == taken, headers


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "GZIP"])
async def test_s12_a_compressed_body_is_refused_unread(encoding: str) -> None:
    client = Client([gzip.compress(bytes(2**20))], content_encoding=encoding)
    with pytest.raises(EncodedBody):
        await client.exchange.body(LIMIT)
    assert client.taken == 0


async def test_s12_a_bomb_is_answered_with_415_and_what_is_taken(gateway: GatewayServer) -> None:
    headers = {"authorization": f"Bearer {gateway.secret}", "content-encoding": "gzip"}
    bomb = gzip.compress(b"0" * 10 * 2**20)
    response = await gateway.client.post(gateway.url + CHAT, content=bomb, headers=headers)
    assert (response.status_code, response.headers["accept-encoding"]) == (415, "identity")
    assert response.json()["error"]["code"] == "unsupported_encoding"


async def test_s12_large_bodies_are_refused_on_the_wire_in_both_forms(
    gateway: GatewayServer,
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20 * LIMIT // 1000):
            yield b" " * 1000

    headers = {"authorization": f"Bearer {gateway.secret}"}
    for content in (b" " * 20 * LIMIT, chunks()):
        response = await gateway.client.post(gateway.url + CHAT, content=content, headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")
    assert (await gateway.post(CHAT, HELLO)).status_code == 200
    assert gateway.engine.requests[-1]["messages"] == HELLO["messages"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"[" * 100_000, "not valid JSON"),
        (b'{"a":' * 150 + b"1" + b"}" * 150, "nested deeper than 96"),
        (b'{"a":NaN}', "not valid JSON"),
        (b'{"a":-Infinity}', "not valid JSON"),
        (b'{"a":[1e999]}', "too large"),
        (b'{"a":' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"a":"\xff"}', "not valid JSON"),
        (b"[1]", "has to be a JSON object"),
        (b"", "not valid JSON"),
        (b'{"a":1} {"b":2}', "not valid JSON"),
        (b'{"a":[' + b"0," * JSON_VALUES_MAX + b"0]}", "more than"),
        (b'{"a":[' + b"{}," * JSON_VALUES_MAX + b"0]}", "more than"),
        (b'{"a":[' + b'"\\"",' * JSON_VALUES_MAX + b"0]}", "more than"),
        (b'{"a":[' + b'"",' * 4 * JSON_VALUES_MAX + b"0]}", "more than"),
    ],
)
def test_s12_what_is_no_sound_json_is_refused_with_the_reason(body: bytes, says: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_object(body)
    assert says in refused.value.message


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":"cut \\ud83d"}', "cut \ufffd"),
        (b'{"a":"\\ud83d\\ude00 and \\\\ud83d and \\udc00"}', "\U0001f600 and \\ud83d and \ufffd"),
        (b'\xef\xbb\xbf{"a":1}', 1),
        (b'{"a":1,"a":2}', 2),
        (b'{"a":"\\u0000"}', "\0"),
    ],
)
def test_what_clients_do_send_is_read(body: bytes, value: object) -> None:
    assert parse_object(body) == {"a": value}


def test_commas_inside_of_texts_are_no_values() -> None:
    table = '1,2,[3],{4}\n\\",' * JSON_VALUES_MAX
    body = json.dumps({"messages": [{"role": "user", "content": table}]}).encode()
    assert parse_object(body)["messages"][0]["content"] == table


async def test_a_large_body_is_parsed_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def recorded(body: bytes) -> dict[str, Any]:
        threads.append(threading.current_thread())
        return parse_object(body)

    monkeypatch.setattr(bodies, "parse_object", recorded)
    await read_object(b'{"a":1}')
    await read_object(b'{"a":"' + b"x" * HEAVY_BYTES + b'"}')
    assert [one is threading.main_thread() for one in threads] == [True, False]


async def test_any_content_type_is_read_as_json(gateway: GatewayServer) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "nonsense"):
        headers = {"authorization": f"Bearer {gateway.secret}", "content-type": content_type}
        content = json.dumps(HELLO).encode()
        response = await gateway.client.post(gateway.url + CHAT, content=content, headers=headers)
        assert response.status_code == 200, response.text


async def test_a_half_sent_body_frees_its_place_when_its_client_leaves(
    gateway: GatewayServer,
) -> None:
    admission = gateway.app.serving.admission
    port = int(gateway.url.rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"POST {CHAT} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {gateway.secret}\r\n"
        "content-length: 1000\r\n\r\n{".encode()
    )
    async with asyncio.timeout(10):
        while admission.calls == 0:
            await asyncio.sleep(0.01)
        writer.close()
        while admission.calls or admission.bytes:
            await asyncio.sleep(0.01)


def test_one_key_leaves_places_to_others() -> None:
    admission = Admission(calls_max=32, body_bytes_max=10)
    held = [admission.place("greedy") for _ in range(30)]
    for place in held:
        place.__enter__()
    with pytest.raises(RateLimited), admission.place("greedy"):
        pass
    more = [admission.place(f"key-{number}") for number in range(2)]
    for place in more:
        place.__enter__()
    with pytest.raises(Overloaded) as full, admission.place("late"):
        pass
    assert full.value.retry_after_s is not None
    for place in (*held, *more):
        place.__exit__(None, None, None)
    assert admission == Admission(calls_max=32, body_bytes_max=10)


def test_bodies_have_a_bound_together_and_one_key_takes_half_of_it() -> None:
    admission = Admission(calls_max=100, body_bytes_max=10)
    most = BODIES * 10
    with admission.place("a") as grow_a, admission.place("b") as grow_b, admission.place("c") as c:
        grow_a(most // 2)
        with pytest.raises(RateLimited):
            grow_a(1)
        grow_b(most // 2)
        with pytest.raises(Overloaded):
            c(1)
    assert (admission.calls, admission.bytes) == (0, 0)


@given(
    st.dictionaries(
        st.sampled_from(["messages", "tools", "stop", "x"]),
        st.lists(st.none() | st.text() | st.dictionaries(st.text(), st.integers())) | st.text(),
    )
)
def test_a_large_request_is_written_in_parts_to_the_same_bytes(body: dict[str, Any]) -> None:
    assert encode_in_parts(body) == encode(body)
