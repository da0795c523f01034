"""Anthropic's SDK as a client of the gateway, over an engine that speaks OpenAI's wire."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic

from roost_inference.testing.scripts import Call, Drop, Fail, Say
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server

WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
HELLO: Any = [{"role": "user", "content": "say Hello"}]


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayServer]:
    async with gateway_server(tmp_path) as server:
        yield server


@pytest.fixture
async def claude(gateway: GatewayServer) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(
        base_url=gateway.url, api_key=gateway.secret, max_retries=0
    ) as client:
        yield client


async def test_a_message_comes_back_with_its_usage(
    gateway: GatewayServer, claude: AsyncAnthropic
) -> None:
    gateway.engine.when("Hello", Say("Hello to you"))
    answer = await claude.messages.create(
        model="fast", max_tokens=64, system="Be kind.", messages=HELLO
    )
    assert [block.text for block in answer.content if block.type == "text"] == ["Hello to you"]
    assert (answer.stop_reason, answer.model, answer.role) == ("end_turn", "fast", "assistant")
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens == 3
    assert answer.id.startswith("msg_") and answer._request_id
    (request,) = gateway.engine.requests
    assert request["messages"][0] == {"role": "system", "content": "Be kind."}


async def test_the_stream_helper_puts_the_same_message_together(
    gateway: GatewayServer, claude: AsyncAnthropic
) -> None:
    gateway.engine.when("Hello", Say("<think>They greet.</think>Hello to you"))
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    async with claude.messages.stream(
        model="fast", max_tokens=2000, messages=HELLO, thinking=thinking
    ) as stream:
        kinds = [event.type async for event in stream]
        whole = await stream.get_final_message()
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"
    assert [block.type for block in whole.content] == ["thinking", "text"]
    assert whole.content[0].type == "thinking" and whole.content[0].thinking == "They greet."
    assert whole.content[1].type == "text" and whole.content[1].text == "Hello to you"
    assert whole.usage.input_tokens == 2 and whole.usage.output_tokens > 0


async def test_reasoning_stays_inside_where_the_client_does_not_ask_for_it(
    gateway: GatewayServer, claude: AsyncAnthropic
) -> None:
    gateway.engine.when("Hello", Say("<think>They greet.</think>Hello to you"))
    whole = await claude.messages.create(model="fast", max_tokens=64, messages=HELLO)
    async with claude.messages.stream(model="fast", max_tokens=64, messages=HELLO) as stream:
        streamed = await stream.get_final_message()
    for answer in (whole, streamed):
        assert [block.type for block in answer.content] == ["text"]


async def test_a_loop_of_tools_completes_with_parallel_calls(
    gateway: GatewayServer, claude: AsyncAnthropic
) -> None:
    gateway.engine.when(
        "weather",
        Call("get_weather", '{"city": "Rome"}'),
        Call("get_weather", '{"city": "Oslo"}'),
        Say("Rome is warm, Oslo is cold."),
    )
    messages: Any = [{"role": "user", "content": "weather in Rome and Oslo?"}]
    for is_streamed in (False, True):
        history = list(messages)
        arguments: Any = {"model": "fast", "max_tokens": 200, "tools": [WEATHER]}
        if is_streamed:
            async with claude.messages.stream(messages=history, **arguments) as stream:
                first: Any = await stream.get_final_message()
        else:
            first = await claude.messages.create(messages=history, **arguments)
        calls = [block for block in first.content if block.type == "tool_use"]
        assert first.stop_reason == "tool_use"
        assert [call.input for call in calls] == [{"city": "Rome"}, {"city": "Oslo"}]
        results = [
            {"type": "tool_result", "tool_use_id": calls[0].id, "content": "warm"},
            {
                "type": "tool_result",
                "tool_use_id": calls[1].id,
                "content": [{"type": "text", "text": "no station"}],
                "is_error": True,
            },
        ]
        history += [first.to_param(), {"role": "user", "content": results}]
        last = await claude.messages.create(messages=history, **arguments)
        assert last.content[0].text == "Rome is warm, Oslo is cold."
    told = gateway.engine.requests[-1]["messages"]
    assert [message["content"] for message in told if message["role"] == "tool"] == [
        "warm",
        "Error: no station",
    ]
    assert told[1]["tool_calls"][0]["function"] == {
        "name": "get_weather",
        "arguments": '{"city": "Rome"}',
    }


async def test_a_stop_sequence_is_told(gateway: GatewayServer, claude: AsyncAnthropic) -> None:
    gateway.engine.when("Hello", Say("one two three four"))
    answer = await claude.messages.create(
        model="fast", max_tokens=64, messages=HELLO, stop_sequences=["three", "four"]
    )
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "three")
    assert answer.content[0].type == "text" and answer.content[0].text == "one two "
    async with claude.messages.stream(
        model="fast", max_tokens=64, messages=HELLO, stop_sequences=["three"]
    ) as stream:
        streamed = await stream.get_final_message()
    assert (streamed.stop_reason, streamed.stop_sequence) == ("stop_sequence", "three")


async def test_errors_are_of_the_right_type(gateway: GatewayServer, claude: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as unknown:
        await claude.messages.create(model="nobody", max_tokens=64, messages=HELLO)
    body: Any = unknown.value.body
    assert body["type"] == "error" and body["error"]["type"] == "not_found_error"
    assert body["request_id"] == unknown.value.response.headers["request-id"]
    assert unknown.value.response.headers["x-request-id"] == body["request_id"]
    with pytest.raises(anthropic.AuthenticationError):
        await claude.with_options(api_key="sk-roost-wrong").messages.create(
            model="fast", max_tokens=64, messages=HELLO
        )
    with pytest.raises(anthropic.BadRequestError, match=r"messages\.0\.content\.0\.text"):
        wrong: Any = [{"role": "user", "content": [{"type": "text", "text": 1}]}]
        await claude.messages.create(model="fast", max_tokens=64, messages=wrong)
    _, secret = await gateway.new_key("narrow", models=("other",))
    with pytest.raises(anthropic.PermissionDeniedError):
        await claude.with_options(api_key=secret).messages.create(
            model="fast", max_tokens=64, messages=HELLO
        )
    gateway.engine.when("Hello", Fail(400))
    with pytest.raises(anthropic.BadRequestError, match="The script says 400"):
        await claude.messages.create(model="fast", max_tokens=64, messages=HELLO)


async def test_a_request_without_max_tokens_is_refused_in_anthropic_s_words(
    gateway: GatewayServer,
) -> None:
    response = await gateway.post("/v1/messages", {"model": "fast", "messages": HELLO})
    assert response.status_code == 400
    assert response.json()["error"] == {
        "type": "invalid_request_error",
        "message": "max_tokens: Field required",
    }


async def test_a_stream_that_breaks_ends_with_an_error_event(gateway: GatewayServer) -> None:
    gateway.engine.when("Hello", Drop())
    body = {"model": "fast", "max_tokens": 64, "messages": HELLO, "stream": True}
    response = await gateway.post("/v1/messages", body)
    assert response.status_code == 200
    name, data = response.text.strip().split("\n\n")[-1].split("\n")
    assert name == "event: error"
    assert json.loads(data[6:])["error"]["type"] == "api_error"
    assert "message_stop" not in response.text


async def test_the_base_address_answers(gateway: GatewayServer) -> None:
    assert (await gateway.client.head(f"{gateway.url}/")).status_code == 200
    for path in ("/v1", "/v1/"):
        assert (await gateway.client.get(f"{gateway.url}{path}")).status_code == 200


async def test_an_address_that_is_not_served_is_refused_in_the_client_s_form(
    claude: AsyncAnthropic,
) -> None:
    with pytest.raises(anthropic.NotFoundError) as refused:
        await claude.messages.batches.retrieve("batch_1")
    body: Any = refused.value.body
    assert body["type"] == "error" and body["error"]["type"] == "not_found_error"
