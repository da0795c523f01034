"""Whoever asks is known by the key, and each answer by the id of its request."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from roost_inference.config import EngineConfig
from roost_inference.http.listener import listening
from roost_inference.http.routes import ServiceHolder, build_app
from roost_inference.server import build_server
from roost_inference.testing.puppet import PuppetEngine
from roost_inference.wire.ids import REQUEST_ID_CHARACTERS_MAX

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"Bearer right", 200),
        (b"bearer right", 200),
        (b"BEARER   right", 200),
        (b"Bearer\tright", 200),
        (b"", 401),
        (b"Bearer", 401),
        (b"right", 401),
        (b"Basic right", 401),
        (b"Bearer right right", 401),
        (b"Bearer Right", 401),
        (b"Bearerright", 401),
        (b"Bearer, right", 401),
        (b"Bearer \xff\xfe", 401),
    ],
)
async def test_the_scheme_is_read_in_any_case_and_the_key_to_the_letter(
    puppet: PuppetEngine, sent: bytes, status: int
) -> None:
    config = EngineConfig.model_validate({"api_key": "right"})
    async with (
        listening(build_server(puppet, config)) as url,
        httpx2.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        reply = await http.get("/v1/models", headers=[(b"authorization", sent)])
        assert reply.status_code == status
        assert reply.headers.get("www-authenticate") == (None if status == 200 else "Bearer")


async def test_a_key_beyond_ascii_is_compared_by_its_bytes(puppet: PuppetEngine) -> None:
    config = EngineConfig.model_validate({"api_key": "schlüssel"})
    async with (
        listening(build_server(puppet, config)) as url,
        httpx2.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        right = [(b"authorization", "Bearer schlüssel".encode())]
        assert (await http.get("/v1/models", headers=right)).status_code == 200


async def test_every_answer_bears_the_id_of_its_request(
    puppet: PuppetEngine,
) -> None:
    puppet.answer = "ok"
    config = EngineConfig.model_validate({"api_key": "right"})
    key = {"authorization": "Bearer right"}
    async with (
        listening(build_server(puppet, config)) as url,
        httpx2.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        asked: list[tuple[str, str, dict[str, str], Any, int]] = [
            ("POST", CHAT, key, BODY, 200),
            ("POST", CHAT, key, {**BODY, "stream": True}, 200),
            ("POST", CHAT, key, {}, 400),
            ("POST", CHAT, key, {**BODY, "model": "other"}, 404),
            ("POST", CHAT, {}, BODY, 401),
            ("POST", CHAT, {**key, "host": "evil.example"}, BODY, 403),
            ("POST", CHAT, {**key, "origin": "http://evil.example"}, BODY, 403),
            ("POST", "/v1/completions", key, {"prompt": "a"}, 200),
            ("GET", CHAT, key, None, 405),
            ("GET", "/nothing", key, None, 404),
            ("GET", "/health", {}, None, 200),
            ("HEAD", "/", key, None, 200),
        ]
        for method, path, headers, body, status in asked:
            own = {**headers, "x-request-id": "mine-7/e"}
            reply = await http.request(method, path, headers=own, json=body)
            assert reply.status_code == status, (method, path)
            assert reply.headers.get_list("x-request-id") == ["mine-7/e"], (method, path)
            ids = {
                (await http.request(method, path, headers=headers, json=body)).headers[
                    "x-request-id"
                ]
                for _ in range(2)
            }
            assert len(ids) == 2 and all(each.startswith("req_") for each in ids)


async def test_a_failure_of_the_server_itself_bears_it_too(puppet: PuppetEngine) -> None:
    app = build_server(puppet)

    def fail() -> None:
        raise RuntimeError

    puppet.stats = fail  # type: ignore[method-assign, assignment]
    async with (
        listening(app) as url,
        httpx2.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        reply = await http.get("/health", headers={"x-request-id": "mine"})
        assert (reply.status_code, reply.headers["x-request-id"]) == (500, "mine")


@pytest.mark.parametrize("sent", [b"", b"a b", b"\xff", b"x" * (REQUEST_ID_CHARACTERS_MAX + 1)])
async def test_an_id_that_no_header_may_repeat_is_replaced(
    http: httpx2.AsyncClient, sent: bytes
) -> None:
    reply = await http.get("/health", headers=[(b"x-request-id", sent)])
    assert reply.headers["x-request-id"].startswith("req_")


async def test_the_small_questions_of_clients_are_answered(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    assert (await http.head("/")).status_code == 200
    assert "Roost" in (await http.get("/")).text
    for method in ("GET", "POST", "HEAD"):
        pinged = await http.request(method, "/ping")
        assert (pinged.status_code, pinged.content) == (200, b"")
    version = (await http.get("/version")).json()
    assert version["version"] and version["build"] == "puppet"
    (model,) = (await http.get("/v1/models")).json()["data"]
    assert (await http.get(f"/v1/models/{model['id']}")).json() == model
    for path in ("/v1/models", "/health", "/metrics", "/version", f"/v1/models/{model['id']}"):
        headed = await http.head(path)
        assert (headed.status_code, headed.content) == (200, b""), path
    puppet.failure = "the kernels failed"
    assert (await http.get("/ping")).status_code == 503


async def test_while_the_model_loads_only_the_name_is_told() -> None:
    async with (
        listening(build_app(ServiceHolder(), EngineConfig())) as url,
        httpx2.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        assert (await http.head("/")).status_code == 200
        assert (await http.get("/ping")).status_code == 503
        for path in ("/version", "/v1/models/a"):
            assert (await http.get(path)).json()["error"]["code"] == "engine_unavailable"
        for path in ("/v1/completions", "/tokenize", "/detokenize"):
            assert (await http.post(path, json={})).status_code == 503


def request(body: Any, path: str = CHAT) -> bytes:
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(data)}\r\n\r\n"
    return head.encode() + data


async def read_answer(reader: asyncio.StreamReader) -> int:
    """The status of the next answer on a connection; reads it to its end."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.split("content-length: ")[1].split("\r\n")[0])
    await reader.readexactly(length)
    return int(head.split()[1])


async def test_a_connection_goes_on_after_errors_also_with_requests_in_a_row(
    url: str, puppet: PuppetEngine
) -> None:
    puppet.answer = "ok"
    bad: tuple[Any, ...] = ({}, {**BODY, "logit_bias": {"01": 1}}, {**BODY, "guided_json": {}}, [1])
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
    async with asyncio.timeout(20):
        for body in bad:
            writer.write(request(body))
            assert await read_answer(reader) == 400
            writer.write(request(BODY))
            assert await read_answer(reader) == 200
        rows = [request(body) for body in (*bad, BODY, {}, BODY)]
        writer.write(b"".join(rows) + request({}, "/nothing") + request(BODY))
        statuses = [await read_answer(reader) for _ in range(len(rows) + 2)]
    assert statuses == [400, 400, 400, 400, 200, 400, 200, 404, 200]
    writer.close()
