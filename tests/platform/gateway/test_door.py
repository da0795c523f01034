"""The door: a call comes through with a key, and its row tells what it used."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select

from roost_inference.testing.scripts import Say
from roost_platform.db import models
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server

HELLO = {"model": "fast", "messages": [{"role": "user", "content": "say Hello there"}]}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayServer]:
    async with gateway_server(tmp_path) as server:
        yield server


async def rows(gateway: GatewayServer) -> list[models.GatewayCall]:
    await gateway.until_idle()
    async with gateway.database.read() as session:
        return list(await session.scalars(select(models.GatewayCall)))


async def test_a_whole_answer_comes_back_and_is_counted(gateway: GatewayServer) -> None:
    gateway.engine.when("Hello", Say("Hello to you"))
    response = await gateway.post("/v1/chat/completions", HELLO)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["choices"][0]["message"]["content"] == "Hello to you"
    assert answer["model"] == "fast"
    assert response.headers["x-request-id"]
    (row,) = await rows(gateway)
    assert (row.outcome, row.status, row.target) == ("ok", 200, "roost/scripted")
    assert row.input_tokens == answer["usage"]["prompt_tokens"] > 0
    assert row.held_tokens > 0 and row.ttft_ms is not None


async def test_a_stream_is_the_whole_answer_in_pieces(gateway: GatewayServer) -> None:
    gateway.engine.when("Hello", Say("Hello to you"))
    body = {**HELLO, "stream": True, "stream_options": {"include_usage": True}}
    response = await gateway.post("/v1/chat/completions", body)
    events = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    chunks = [json.loads(event) for event in events]
    text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    assert text == "Hello to you"
    assert chunks[-1]["usage"]["total_tokens"] > 0


async def test_a_request_without_a_key_is_refused_in_openai_s_form(gateway: GatewayServer) -> None:
    response = await gateway.post("/v1/chat/completions", HELLO, secret="sk-roost-wrong")
    assert response.status_code == 401
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert response.json()["error"]["code"] == "invalid_api_key"


async def test_an_unknown_model_is_its_own_error(gateway: GatewayServer) -> None:
    response = await gateway.post("/v1/chat/completions", {**HELLO, "model": "nobody"})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
    [row] = await rows(gateway)
    assert (row.outcome, row.error_code, row.cost_microusd) == ("refused", "model_not_found", 0)
