"""OpenAI's own client understands every answer, whole and streamed."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel

from roost_inference.testing.scripts import Call, Drop, Say
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server

ASK: list[Any] = [{"role": "user", "content": "say Hello"}]
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("weather", "clock")
]


class City(BaseModel):
    name: str
    people: int


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayServer]:
    async with gateway_server(tmp_path) as server:
        yield server


@pytest.fixture
async def client(gateway: GatewayServer) -> AsyncIterator[AsyncOpenAI]:
    base = f"{gateway.url}/v1"
    async with AsyncOpenAI(api_key=gateway.secret, base_url=base, max_retries=0) as client:
        yield client


async def test_a_whole_answer_has_all_that_the_specification_asks_for(
    gateway: GatewayServer, client: AsyncOpenAI
) -> None:
    gateway.engine.when("Hello", Say("Hello to you"))
    answer = await client.chat.completions.create(model="fast", messages=ASK, seed=5, stop=["x"])
    raw = answer.model_dump()
    message = raw["choices"][0]["message"]
    assert answer.id.startswith("chatcmpl-") and answer.object == "chat.completion"
    assert (message["refusal"], message["annotations"]) == (None, [])
    assert raw["choices"][0]["logprobs"] is None
    assert answer.usage is not None and answer.usage.total_tokens > 0
    assert answer._request_id and answer._request_id.startswith("req_")
    (body,) = gateway.engine.requests
    assert (body["seed"], body["stop"]) == (5, ["x"])


async def test_a_stream_has_one_role_one_reason_and_the_usage_last(
    gateway: GatewayServer, client: AsyncOpenAI
) -> None:
    gateway.engine.when("Hello", Say("Hello to all of you", per_second=500))
    chunks = [
        chunk
        async for chunk in await client.chat.completions.create(
            model="fast", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
    ]
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == "Hello to all of you"
    assert [choice.delta.role for choice in choices if choice.delta.role] == ["assistant"]
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["stop"]
    assert choices[-1].delta.content is None and len(choices) > 3
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == [] and chunks[-1].usage is not None
    assert len({chunk.id for chunk in chunks}) == 1
    plain = await client.chat.completions.create(model="fast", messages=ASK, stream=True)
    assert [chunk async for chunk in plain if chunk.usage or not chunk.choices] == []


async def test_parallel_tools_are_called_and_answered(
    gateway: GatewayServer, client: AsyncOpenAI
) -> None:
    gateway.engine.when(
        "Hello", Call("weather", '{"city": "Rome"}'), Call("clock", "{}"), Say("Sunny at noon")
    )
    async with client.chat.completions.stream(
        model="fast", messages=ASK, tools=TOOLS, parallel_tool_calls=True
    ) as stream:
        first = await stream.get_final_completion()
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    calls = message.tool_calls or []
    assert [call.function.name for call in calls] == ["weather", "clock"]
    assert calls[0].function.arguments == '{"city": "Rome"}'
    assert calls[0].id.startswith("call_") and calls[0].id != calls[1].id
    results = [{"role": "tool", "tool_call_id": call.id, "content": "ok"} for call in calls]
    again: list[Any] = [*ASK, message.model_dump(exclude_none=True), *results]
    second = await client.chat.completions.create(model="fast", messages=again, tools=TOOLS)
    assert second.choices[0].message.content == "Sunny at noon"


async def test_the_choice_among_tools_reaches_the_engine(
    gateway: GatewayServer, client: AsyncOpenAI
) -> None:
    named = {"type": "function", "function": {"name": "clock"}}
    choices: list[Any] = ["auto", "none", "required", named]
    for choice in choices:
        await client.chat.completions.create(
            model="fast", messages=ASK, tools=TOOLS, tool_choice=choice
        )
    assert [body["tool_choice"] for body in gateway.engine.requests] == choices


async def test_an_answer_is_parsed_into_a_model(
    gateway: GatewayServer, client: AsyncOpenAI
) -> None:
    gateway.engine.when("Hello", Say('{"name": "Rome", "people": 3}'))
    parsed = await client.chat.completions.parse(model="fast", messages=ASK, response_format=City)
    assert parsed.choices[0].message.parsed == City(name="Rome", people=3)
    (body,) = gateway.engine.requests
    assert body["response_format"]["json_schema"]["strict"] is True
    async with client.chat.completions.stream(
        model="fast", messages=ASK, response_format=City
    ) as stream:
        streamed = await stream.get_final_completion()
    assert streamed.choices[0].message.parsed == City(name="Rome", people=3)


async def test_functions_of_the_older_api_are_called(
    gateway: GatewayServer, client: AsyncOpenAI
) -> None:
    gateway.engine.when("Hello", Call("weather", '{"a": 1}'))
    functions: list[Any] = [{"name": "weather", "parameters": {"type": "object"}}]
    whole = await client.chat.completions.create(model="fast", messages=ASK, functions=functions)
    choice = whole.choices[0]
    assert choice.finish_reason == "function_call" and choice.message.tool_calls is None
    assert choice.message.function_call is not None
    assert choice.message.function_call.arguments == '{"a": 1}'
    pieces = [
        chunk.choices[0]
        async for chunk in await client.chat.completions.create(
            model="fast", messages=ASK, functions=functions, stream=True
        )
    ]
    calls = [one.delta.function_call for one in pieces if one.delta.function_call]
    assert [call.name for call in calls if call.name] == ["weather"]
    assert "".join(call.arguments or "" for call in calls) == '{"a": 1}'
    assert pieces[-1].finish_reason == "function_call"


async def test_refusals_are_the_errors_that_the_client_knows(
    gateway: GatewayServer, client: AsyncOpenAI
) -> None:
    ask = client.chat.completions.create
    with pytest.raises(openai.NotFoundError) as unknown:
        await ask(model="nobody", messages=ASK)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    assert unknown.value.request_id
    with pytest.raises(openai.BadRequestError) as refused:
        await ask(model="fast", messages=ASK, temperature=9)
    assert (refused.value.param, refused.value.type) == ("temperature", "invalid_request_error")
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="sk-roost-no").models.list()
    gateway.engine.when("Hello", Drop())
    with pytest.raises(openai.APIError) as broken:
        async for _ in await ask(model="fast", messages=ASK, stream=True):
            pass
    assert broken.value.code == "stream_broken"
    with pytest.raises(openai.InternalServerError) as lost:
        await ask(model="fast", messages=ASK)
    assert lost.value.status_code == 502


async def test_several_choices_come_from_an_engine_that_gives_one(
    gateway: GatewayServer, client: AsyncOpenAI
) -> None:
    gateway.engine.when(lambda body: True, Say("one", per_second=200), times=2)
    gateway.engine.when(lambda body: body.get("seed") == 9, Say("last"))
    ask = client.chat.completions.create
    answer = await ask(model="fast", messages=ASK, n=3, seed=7)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.choices[2].message.content == "last"
    assert all(choice.finish_reason == "stop" for choice in answer.choices)
    assert sorted(body["seed"] for body in gateway.engine.requests) == [7, 8, 9]
    assert answer.usage is not None and answer.usage.prompt_tokens == 3 * 2
    texts = ["", "", ""]
    async for chunk in await ask(model="fast", messages=ASK, n=3, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert all(texts)


async def test_the_older_completions_are_answered(
    gateway: GatewayServer, client: AsyncOpenAI
) -> None:
    gateway.engine.when(lambda body: True, Say("upon a time"))
    ask = client.completions.create
    answer = await ask(model="fast", prompt=["Once ", "Never "], n=2, echo=True, max_tokens=5)
    texts = [choice.text for choice in answer.choices]
    assert texts == ["Once upon a time"] * 2 + ["Never upon a time"] * 2
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.object == "text_completion" and answer.id.startswith("cmpl-")
    assert {body["max_tokens"] for body in gateway.engine.requests} == {5}
    text, last = "", None
    stream = await ask(
        model="fast", prompt="Once ", stream=True, echo=True, stream_options={"include_usage": True}
    )
    async for chunk in stream:
        text += "".join(choice.text for choice in chunk.choices)
        last = chunk
    assert text == "Once upon a time"
    assert last is not None and last.usage is not None and last.choices == []
    faults: dict[str, Any] = {"suffix": "x", "prompt": [1, 2], "best_of": 1}
    for field, value in faults.items():
        with pytest.raises(openai.BadRequestError) as refused:
            fields: dict[str, Any] = {"model": "fast", "prompt": "a", "n": 2, field: value}
            await ask(**fields)
        assert refused.value.param == field
