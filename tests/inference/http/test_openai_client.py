"""OpenAI's own client as the judge of our wire, against the real engine and the puppet."""

import asyncio
import json
from collections.abc import AsyncIterator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

from roost_inference.engine import Engine
from roost_inference.errors import QueueFull
from roost_inference.testing.puppet import PuppetEngine

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello, who are you?"}]
CLOCK: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "clock",
        "description": "The time in a zone.",
        "parameters": {
            "type": "object",
            "properties": {"zone": {"type": "string", "enum": ["UTC", "CET"]}},
            "required": ["zone"],
        },
    },
}


@pytest.fixture
async def real(real_url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{real_url}/v1", api_key="x", max_retries=0) as client:
        yield client


@pytest.fixture
async def strict(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{url}/v1",
        api_key="x",
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client


async def test_a_whole_answer_and_a_stream_agree(real: openai.AsyncOpenAI) -> None:
    model = (await real.models.list()).data[0].id
    whole = await real.chat.completions.create(
        model=model, messages=HELLO, temperature=0, max_tokens=24, tools=[CLOCK]
    )
    text, usage = "", None
    async for chunk in await real.chat.completions.create(
        model=model,
        messages=HELLO,
        temperature=0,
        max_tokens=24,
        tools=[CLOCK],
        stream=True,
        stream_options={"include_usage": True},
    ):
        usage = chunk.usage or usage
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
    content = whole.choices[0].message.content or ""
    # The second finds its prompt in the cache: sums in another order may turn a near-tie round.
    assert content.split()[:3] == text.split()[:3]
    assert len(text.split()) > 3 and len(content.split()) > 3
    assert whole.choices[0].message.tool_calls is None
    assert usage is not None and whole.usage is not None
    assert usage.prompt_tokens == whole.usage.prompt_tokens
    assert usage.prompt_tokens_details is not None
    assert (usage.prompt_tokens_details.cached_tokens or 0) > 0


async def test_a_forced_tool_call_streams_and_parses(real: openai.AsyncOpenAI) -> None:
    async with real.chat.completions.stream(
        model="",
        messages=[{"role": "user", "content": "What time is it in UTC?"}],
        tools=[CLOCK],
        tool_choice="required",
        parallel_tool_calls=False,
        temperature=0,
        max_tokens=60,
    ) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_completion()
    assert "tool_calls.function.arguments.delta" in kinds
    choice = final.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.function.name == "clock"
    assert json.loads(call.function.arguments)["zone"] in ("UTC", "CET")


async def test_a_pydantic_response_format_comes_back_as_its_type(real: openai.AsyncOpenAI) -> None:
    class Colour(BaseModel):
        is_warm: bool
        level: int

    completion = await real.chat.completions.parse(
        model="",
        messages=[{"role": "user", "content": "Describe red."}],
        response_format=Colour,
        temperature=0,
        max_tokens=60,
    )
    assert isinstance(completion.choices[0].message.parsed, Colour)


async def test_the_clients_own_types_accept_every_answer(
    strict: openai.AsyncOpenAI, puppet: PuppetEngine
) -> None:
    puppet.answer = '<tool_call>\n{"name": "clock", "arguments": {"zone": "UTC"}}\n</tool_call>'
    whole = await strict.chat.completions.create(model="puppet", messages=HELLO, tools=[CLOCK])
    assert whole.choices[0].message.content is None
    stream = await strict.chat.completions.create(
        model="puppet", messages=HELLO, tools=[CLOCK], stream=True
    )
    assert [chunk.choices[0].finish_reason async for chunk in stream][-1] == "tool_calls"


async def test_errors_arrive_as_the_clients_exceptions(
    strict: openai.AsyncOpenAI, puppet: PuppetEngine
) -> None:
    async def ask(model: str = "puppet") -> None:
        await strict.chat.completions.create(model=model, messages=HELLO)

    with pytest.raises(openai.NotFoundError) as missing:
        await ask("other")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    puppet.refuse = QueueFull("full", retry_after_s=2)
    with pytest.raises(openai.RateLimitError) as full:
        await ask()
    assert full.value.code == "queue_full"
    with pytest.raises(openai.BadRequestError) as empty:
        await strict.chat.completions.create(model="puppet", messages=[])
    assert empty.value.param == "messages"


async def test_a_prompt_beyond_the_real_context_has_its_own_code(real: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as long:
        await real.chat.completions.create(
            model="", messages=[{"role": "user", "content": "word " * 9000}]
        )
    assert long.value.code == "context_length_exceeded"


async def test_closing_the_clients_stream_frees_the_engine(
    real: openai.AsyncOpenAI, real_engine: Engine
) -> None:
    stream = await real.chat.completions.create(
        model="", messages=HELLO, stream=True, extra_body={"ignore_eos": True}
    )
    async for _ in stream:
        break
    await stream.close()
    async with asyncio.timeout(2):
        while real_engine.stats().running:
            await asyncio.sleep(0.005)
