"""Tokens are counted by the target where it can, else estimated; the count is never refused."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic

from roost_platform.gateway import counting
from roost_platform.testing.providers.anthropic import KEY, MODEL, ScriptedAnthropic
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server

HELLO: Any = [{"role": "user", "content": "Hello " * 100}]
LOOK: Any = {"name": "look", "input_schema": {"type": "object"}}


@pytest.fixture
async def claude() -> AsyncIterator[ScriptedAnthropic]:
    async with ScriptedAnthropic() as server:
        yield server


@pytest.fixture
async def gateway(tmp_path: Path, claude: ScriptedAnthropic) -> AsyncIterator[GatewayServer]:
    settings: dict[str, Any] = {
        "providers": {"far": {"base_url": claude.base_url, "api_key": KEY, "wire": "anthropic"}},
        "models": {"claude": {"targets": [f"far/{MODEL}"]}},
    }
    async with gateway_server(tmp_path, overrides=settings) as server:
        yield server


async def count(gateway: GatewayServer, model: str) -> int:
    async with AsyncAnthropic(base_url=gateway.url, api_key=gateway.secret) as client:
        counted = await client.messages.count_tokens(
            model=model, messages=HELLO, system="Be kind.", tools=[LOOK]
        )
    return counted.input_tokens


async def test_a_provider_of_the_same_wire_counts_itself(
    gateway: GatewayServer, claude: ScriptedAnthropic
) -> None:
    claude.tokens = 1234
    assert await count(gateway, "claude") == 1234
    assert claude.requests[-1]["tools"] == [LOOK]


async def test_the_engine_in_use_counts_the_prompt_itself(gateway: GatewayServer) -> None:
    # A token of the scripted engine is a word.
    assert await count(gateway, "fast") == 102


async def test_where_nobody_counts_the_size_is_an_estimate(
    gateway: GatewayServer, claude: ScriptedAnthropic
) -> None:
    claude.tokens = 0
    assert 140 < await count(gateway, "claude") < 200


async def test_a_target_that_says_nothing_is_not_waited_for(
    gateway: GatewayServer, claude: ScriptedAnthropic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "COUNT_S_MAX", 0.1)
    claude.tokens = -1
    assert 140 < await count(gateway, "claude") < 200


async def test_a_count_is_no_call_and_needs_a_key(gateway: GatewayServer) -> None:
    body = {"model": "fast", "messages": HELLO}
    response = await gateway.post("/v1/messages/count_tokens", body, secret="sk-roost-wrong")
    assert response.status_code == 401
    assert response.json()["error"]["type"] == "authentication_error"
    assert (await gateway.post("/v1/messages/count_tokens", body)).status_code == 200
    assert gateway.engine.requests == []


async def test_a_count_holds_a_place_and_its_bytes_like_a_call(gateway: GatewayServer) -> None:
    admission = gateway.app.serving.admission
    admission.calls_max = 0
    body = {"model": "fast", "messages": HELLO}
    for path in ("/v1/messages/count_tokens", "/v1/responses/input_tokens"):
        response = await gateway.post(path, {**body, "input": "Hello"})
        assert response.status_code in (429, 503, 529)
    admission.calls_max = 8
    assert (await gateway.post("/v1/messages/count_tokens", body)).status_code == 200
    await gateway.until_idle()
    assert (admission.calls, admission.bytes) == (0, 0)


async def test_a_key_of_some_models_counts_for_these_alone(gateway: GatewayServer) -> None:
    _, secret = await gateway.new_key("some", models=("claude",))
    for model, status in (("fast", 403), ("claude", 200)):
        body = {"model": model, "messages": HELLO}
        response = await gateway.post("/v1/messages/count_tokens", body, secret)
        assert response.status_code == status
