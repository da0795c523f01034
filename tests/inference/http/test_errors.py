"""Every way to be refused, in OpenAI's shape, each with a code of its own."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from roost_inference.config import EngineConfig
from roost_inference.errors import (
    EngineFailed,
    EngineUnavailable,
    PromptTooLong,
    QueueFull,
)
from roost_inference.http import exchange
from roost_inference.http.listener import listening
from roost_inference.http.routes import ServiceHolder, build_app
from roost_inference.server import build_server
from roost_inference.testing.puppet import PuppetEngine
from roost_inference.wire.chat_call import (
    SESSION_ID_CHARACTERS_MAX,
    STOP_STRINGS_MAX,
    TOOLS_MAX,
    TOP_LOGPROBS_MAX,
)
from roost_inference.wire.json_body import JSON_DEPTH_MAX

CHAT = "/v1/chat/completions"
USER = {"role": "user", "content": "hi"}


def tool(**parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": parameters}}


def image() -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": "data:"}}


CASES: list[tuple[dict[str, Any], int, str, str | None]] = [
    ({}, 400, "missing_field", "messages"),
    ({"messages": []}, 400, "invalid_request", "messages"),
    ({"messages": [{"role": "bot", "content": ""}]}, 400, "invalid_request", "messages[0].role"),
    ({"messages": [USER, {"role": "user"}]}, 400, "invalid_request", "messages[1].content"),
    (
        {"messages": [{"role": "user", "content": [image()]}]},
        400,
        "unsupported_content",
        "messages[0].content",
    ),
    (
        {"messages": [{"role": "tool", "content": "x"}]},
        400,
        "invalid_request",
        "messages[0].tool_call_id",
    ),
    ({"messages": [USER], "temperature": "hot"}, 400, "invalid_request", "temperature"),
    ({"messages": [USER], "temperature": 2.5}, 400, "invalid_request", "temperature"),
    ({"messages": [USER], "max_tokens": 0}, 400, "invalid_request", "max_tokens"),
    ({"messages": [USER], "stop": ["a", 7]}, 400, "invalid_request", "stop[1]"),
    ({"messages": [USER], "n": 0}, 400, "invalid_request", "n"),
    ({"messages": [USER], "n": 17}, 400, "invalid_request", "n"),
    ({"messages": [USER], "best_of": 2}, 400, "invalid_request", "best_of"),
    ({"messages": [USER], "min_tokens": -1}, 400, "invalid_request", "min_tokens"),
    ({"messages": [USER], "stop_token_ids": [-1]}, 400, "invalid_request", "stop_token_ids[0]"),
    ({"messages": [USER], "bad_words": [""]}, 400, "invalid_request", "bad_words[0]"),
    ({"messages": [USER], "structured_outputs": {}}, 400, "invalid_request", "structured_outputs"),
    ({"messages": [USER], "top_logprobs": 3}, 400, "invalid_request", "top_logprobs"),
    ({"messages": [USER], "logit_bias": {"x": 1}}, 400, "invalid_request", "logit_bias"),
    ({"messages": [USER], "stream_options": {}}, 400, "invalid_request", "stream_options"),
    ({"messages": [USER], "tool_choice": "required"}, 400, "invalid_request", "tool_choice"),
    (
        {
            "messages": [USER],
            "tools": [tool()],
            "tool_choice": {"type": "function", "function": {"name": "g"}},
        },
        400,
        "invalid_request",
        "tool_choice",
    ),
    ({"messages": [USER], "tools": [tool(), tool()]}, 400, "invalid_request", "tools"),
    ({"messages": [USER], "tools": [tool(type="array")]}, 400, "invalid_schema", "tools"),
    (
        {"messages": [USER], "tools": [tool(properties={"a": {"type": "nonsense"}})]},
        400,
        "invalid_schema",
        "tools",
    ),
    (
        {
            "messages": [USER],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "r", "schema": {"$ref": "#/$defs/none"}},
            },
        },
        400,
        "invalid_schema",
        "response_format",
    ),
    (
        {"messages": [USER], "kv_transfer_params": {"max_load_tokens": -1}},
        400,
        "invalid_request",
        "kv_transfer_params.max_load_tokens",
    ),
    ({"messages": [USER], "model": "gpt-99"}, 404, "model_not_found", "model"),
]


@pytest.mark.parametrize(("body", "status", "code", "param"), CASES)
async def test_a_bad_request_names_its_code_and_field(
    http: httpx2.AsyncClient,
    puppet: PuppetEngine,
    body: dict[str, Any],
    status: int,
    code: str,
    param: str | None,
) -> None:
    response = await http.post(CHAT, json=body)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert not puppet.requests


async def test_a_bad_schema_names_its_tool(http: httpx2.AsyncClient) -> None:
    tools = [tool(properties={"a": {"type": "nonsense"}})]
    response = await http.post(CHAT, json={"messages": [USER], "tools": tools})
    assert "tool 'f'" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"messages": NaN}',
        b"[" * 50_000,
        b'{"a":' + b"[" * JSON_DEPTH_MAX + b"]" * JSON_DEPTH_MAX + b"}",
    ],
)
async def test_what_is_not_json_or_nested_too_deep_is_refused(
    http: httpx2.AsyncClient, body: bytes
) -> None:
    response = await http.post(CHAT, content=body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid_json"


async def test_a_prompt_beyond_the_context_is_told_with_the_numbers(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    puppet.refuse = PromptTooLong("The prompt has 5000 tokens, the context 4096", param="messages")
    response = await http.post(CHAT, json={"messages": [USER]})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"


async def test_a_full_queue_says_when_to_come_back(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    puppet.refuse = QueueFull("256 requests wait", retry_after_s=7.2)
    response = await http.post(CHAT, json={"messages": [USER]})
    assert response.status_code == 429
    assert response.headers["retry-after"] == "7"
    assert response.json()["error"]["type"] == "rate_limit_error"


async def test_an_engine_that_stops_is_unavailable_not_broken(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    puppet.refuse = EngineUnavailable("stopping")
    response = await http.post(CHAT, json={"messages": [USER]})
    assert response.status_code == 503
    assert "retry-after" in response.headers


async def test_a_declared_length_above_the_limit_is_refused(http: httpx2.AsyncClient) -> None:
    response = await http.post(CHAT, content=b"x" * 100_001)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "body_too_large"


async def test_a_chunked_body_is_counted_as_it_comes(http: httpx2.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"x" * 10_000

    response = await http.post(CHAT, content=chunks())
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "body_too_large"


async def test_a_body_without_end_is_answered_and_cut(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "LINGER_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
    head = f"POST {CHAT} HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\n"
    writer.write(head.encode())

    async def pour() -> None:
        while True:
            writer.write(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0.005)

    pouring = asyncio.create_task(pour())
    async with asyncio.timeout(5):
        assert b"413" in await reader.readline()
    pouring.cancel()
    await asyncio.wait((pouring,))
    writer.close()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [tool()] * (TOOLS_MAX + 1)}, "tools"),
        ({"stop": ["x"] * (STOP_STRINGS_MAX + 1)}, "stop"),
        ({"logprobs": True, "top_logprobs": TOP_LOGPROBS_MAX + 1}, "top_logprobs"),
        ({"session_id": "x" * (SESSION_ID_CHARACTERS_MAX + 1)}, "session_id"),
        ({"logit_bias": {str(n): 1 for n in range(1025)}}, "logit_bias"),
        ({"logit_bias": {"9" * 5000: 1}}, "logit_bias"),
        ({"logit_bias": {"5": 1e300}}, "logit_bias.5"),
        ({"logit_bias": {"5": -101}}, "logit_bias.5"),
    ],
)
async def test_lists_and_names_have_a_longest_length(
    http: httpx2.AsyncClient, fields: dict[str, Any], param: str
) -> None:
    response = await http.post(CHAT, json={"messages": [USER], **fields})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


async def test_a_body_at_the_limit_is_read(http: httpx2.AsyncClient, puppet: PuppetEngine) -> None:
    puppet.answer = "ok"
    body = {"messages": [{"role": "user", "content": "hi"}], "unknown": ""}
    body["unknown"] = "a" * (100_000 - len(json.dumps(body)))
    text = json.dumps(body).encode()
    assert len(text) == 100_000
    response = await http.post(CHAT, content=text)
    assert response.status_code == 200


async def test_unknown_paths_and_methods_answer_in_the_same_shape(
    http: httpx2.AsyncClient,
) -> None:
    assert (await http.get("/v1/nothing")).json()["error"]["code"] == "not_found"
    wrong = await http.get(CHAT)
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    unknown = await http.get("/v1/models/other/model")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")


async def test_without_the_configured_key_only_health_and_metrics_answer(
    puppet: PuppetEngine,
) -> None:
    puppet.answer = "ok"
    config = EngineConfig.model_validate({"api_key": "k3y"})
    async with (
        listening(build_server(puppet, config)) as url,
        httpx2.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        body = {"messages": [USER]}
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer k3y2"}):
            refused = await http.post(CHAT, json=body, headers=headers)
            assert refused.status_code == 401
            assert refused.json()["error"]["code"] == "invalid_api_key"
        right = {"authorization": "Bearer k3y"}
        assert (await http.post(CHAT, json=body, headers=right)).status_code == 200
        assert (await http.get("/health")).status_code == 200
        assert (await http.get("/metrics")).status_code == 200


async def test_while_the_model_loads_everything_says_so() -> None:
    async with (
        listening(build_app(ServiceHolder(), EngineConfig())) as url,
        httpx2.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        health = await http.get("/health")
        assert (health.status_code, health.json()) == (503, {"status": "starting"})
        chat = await http.post(CHAT, json={"messages": [USER]})
        assert (chat.status_code, chat.json()["error"]["code"]) == (503, "engine_unavailable")


async def test_a_failure_of_the_kernels_is_a_500_for_a_whole_answer(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    asking = asyncio.create_task(http.post(CHAT, json={"messages": [USER]}))
    await puppet.next_request()
    puppet.say("half an ans")
    puppet.finish("error", error=EngineFailed("the kernels failed"))
    response = await asking
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "engine_failed"
