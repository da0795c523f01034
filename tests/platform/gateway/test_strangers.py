"""What reaches the gateway without a key, from other sites, under other names, or never ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roost_inference.http.connections import ConnectionLimits
from roost_inference.http.listener import listening
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server

CHAT = "/v1/chat/completions"
HELLO = {"model": "fast", "messages": [{"role": "user", "content": "say Hello there"}]}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayServer]:
    web = {"web": {"allowed_hosts": ["Models.Example.org"]}}
    async with gateway_server(tmp_path, overrides=web) as server:
        yield server


async def talk(url: str, request: bytes, *, within_s: float = 20.0) -> bytes:
    """All that the server answers to these bytes until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    try:
        writer.write(request)
        async with asyncio.timeout(within_s):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("key", ["", "authorization: Bearer sk-roost-wrong\r\n"])
@pytest.mark.parametrize("length", ["content-length: 20000000", "transfer-encoding: chunked"])
async def test_s12_a_stranger_is_refused_without_a_byte_of_the_body(
    gateway: GatewayServer, key: str, length: str
) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\n{key}{length}\r\n\r\n"
    answer = await talk(gateway.url, head.encode())
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b'"invalid_api_key"' in answer


async def test_a_client_with_a_dead_key_reads_why_after_a_prompt_of_usual_size(
    gateway: GatewayServer,
) -> None:
    body = {**HELLO, "messages": [{"role": "user", "content": "x" * 500_000}]}
    response = await gateway.post(CHAT, body, secret="sk-roost-wrong")
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("LOCALHOST:99", 200),
        ("[::1]:8080", 200),
        ("models.example.org", 200),
        ("evil.example.net", 400),
        ("evil@localhost", 400),
        ("localhost.evil.example.net", 400),
        ("", 400),
    ],
)
async def test_s4_a_host_name_that_is_not_ours_is_refused_with_a_key_too(
    gateway: GatewayServer, host: str, status: int
) -> None:
    headers = {"authorization": f"Bearer {gateway.secret}", "host": host}
    response = await gateway.client.post(gateway.url + CHAT, json=HELLO, headers=headers)
    assert response.status_code == status, response.text
    if status == 400:
        assert response.json()["error"]["code"] == "host_not_allowed"


async def test_s4_forwarding_headers_name_no_other_host(gateway: GatewayServer) -> None:
    headers = {
        "authorization": f"Bearer {gateway.secret}",
        "host": "evil.example.net",
        "x-forwarded-host": "localhost",
        "forwarded": "host=localhost",
    }
    response = await gateway.client.post(gateway.url + CHAT, json=HELLO, headers=headers)
    assert response.status_code == 400


async def test_s4_a_page_of_another_site_gets_nothing_done_and_reads_nothing(
    gateway: GatewayServer,
) -> None:
    browser = {
        "origin": "https://evil.example.net",
        "sec-fetch-site": "cross-site",
        "cookie": "roost=session",
        "content-type": "text/plain",
    }
    posted = await gateway.client.post(
        gateway.url + CHAT, content=json.dumps(HELLO).encode(), headers=browser
    )
    asked = {**browser, "access-control-request-headers": "authorization"}
    preflight = await gateway.client.options(gateway.url + CHAT, headers=asked)
    assert posted.status_code == 401 and preflight.status_code in (404, 405)
    for response in (posted, preflight):
        assert not [name for name in response.headers if name.startswith("access-control-")]
    assert gateway.engine.requests == []


async def test_answers_tell_browsers_to_make_nothing_of_them(gateway: GatewayServer) -> None:
    whole = await gateway.post(CHAT, HELLO)
    stream = await gateway.post(CHAT, {**HELLO, "stream": True})
    refused = await gateway.post(CHAT, HELLO, secret="sk-roost-wrong")
    for response in (whole, stream, refused):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cross-origin-resource-policy"] == "same-origin"
        assert response.headers["cache-control"] in ("no-store", "no-cache")


async def test_half_a_body_is_waited_for_as_long_as_the_port_says(gateway: GatewayServer) -> None:
    limits = ConnectionLimits(head_s=5.0, body_s=0.3)
    async with listening(gateway.app, limits=limits) as url:
        head = (
            f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\n"
            f"authorization: Bearer {gateway.secret}\r\ncontent-length: 1000\r\n\r\n{{"
        )
        assert (await talk(url, head.encode())).startswith(b"HTTP/1.1 408 ")
        async with asyncio.timeout(10):
            while gateway.app.serving.admission.calls:
                await asyncio.sleep(0.01)
    assert gateway.engine.requests == []


async def test_more_calls_than_there_are_places_get_429_or_503_with_a_time(
    gateway: GatewayServer,
) -> None:
    admission = gateway.app.serving.admission
    admission.calls_max = 0
    response = await gateway.post(CHAT, HELLO)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    admission.calls_max = 256
    _, secret = await gateway.new_key("narrow", parallel=1)
    slow = {"model": "fast", "messages": [{"role": "user", "content": "[[slow:100]]"}]}
    first = asyncio.create_task(gateway.post(CHAT, {**slow, "stream": True}, secret))
    async with asyncio.timeout(10):
        while not gateway.engine.running:
            await asyncio.sleep(0.01)
    response = await gateway.post(CHAT, HELLO, secret)
    assert (response.status_code, response.headers["retry-after"]) == (429, "1")
    first.cancel()
    await asyncio.wait({first})
