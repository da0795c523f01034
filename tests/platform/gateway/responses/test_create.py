"""A response is made, told and kept, as OpenAI's own client sees it."""

import openai
import pytest
from pydantic import BaseModel
from sqlalchemy import select
from tests.platform.gateway.responses.replaying import events_of, kinds, replayed

from roost_inference.testing.scripts import Call, Drop, Say
from roost_platform.db import models
from roost_platform.testing.providers.gateway import GatewayServer

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a place.",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    "strict": False,
}


class Person(BaseModel):
    name: str
    age: int


async def calls(gateway: GatewayServer) -> list[models.GatewayCall]:
    await gateway.until_idle()
    async with gateway.database.read() as session:
        return list(await session.scalars(select(models.GatewayCall)))


async def test_a_response_is_whole_and_counted(
    gateway: GatewayServer, client: openai.AsyncOpenAI
) -> None:
    gateway.engine.when("Hello", Say("Hello to you"))
    response = await client.responses.create(
        model="fast", input="say Hello", instructions="Be kind.", metadata={"a": "b"}
    )
    assert (response.output_text, response.status) == ("Hello to you", "completed")
    assert response.metadata == {"a": "b"} and response.instructions == "Be kind."
    assert response.usage is not None and response.usage.total_tokens > 0
    assert gateway.engine.requests[0]["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "say Hello"},
    ]
    (row,) = await calls(gateway)
    assert (row.family, row.outcome) == ("responses", "ok")
    assert row.output_tokens == response.usage.output_tokens


async def test_a_stream_tells_every_step(
    gateway: GatewayServer, client: openai.AsyncOpenAI
) -> None:
    gateway.engine.when("Hello", Say("Hello to you"))
    async with client.responses.stream(model="fast", input="say Hello") as stream:
        told = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert list(dict.fromkeys(told)) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert final.output_text == "Hello to you"
    assert (await client.responses.retrieve(final.id)).output_text == "Hello to you"


async def test_reasoning_is_told_as_text_or_as_the_summary_that_was_asked_for(
    gateway: GatewayServer,
) -> None:
    gateway.engine.when("think", Say("<think>first this</think>\n\nthen that"))
    body = {"model": "fast", "input": "think", "stream": True}
    plain = events_of((await gateway.post("/v1/responses", body)).text)
    asked = {**body, "reasoning": {"effort": "low", "summary": "auto"}}
    summary = events_of((await gateway.post("/v1/responses", asked)).text)
    assert kinds(plain)[2:7] == [
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
    ]
    assert kinds(summary)[2:7] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
    ]
    for events in (plain, summary):
        reasoning, message = events[-1]["response"]["output"]
        (part,) = reasoning["summary"] or reasoning["content"]
        assert (part["text"], message["content"][0]["text"]) == ("first this", "then that")
        assert replayed(events) == events[-1]["response"]["output"]
    assert gateway.engine.requests[-1]["reasoning_effort"] == "low"


async def test_parallel_calls_come_with_their_arguments_and_their_results_are_read(
    gateway: GatewayServer, client: openai.AsyncOpenAI
) -> None:
    gateway.engine.when(
        "weather",
        Call("get_weather", '{"place": "Oslo"}'),
        Call("get_weather", '{"place": "Rome"}'),
    )
    async with client.responses.stream(
        model="fast",
        input="the weather",
        tools=[WEATHER],  # type: ignore[list-item]
    ) as stream:
        told = {event.type async for event in stream}
        first = await stream.get_final_response()
    assert {
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
    } <= told
    assert [item.type for item in first.output] == ["function_call", "function_call"]
    results = [
        {"type": "function_call_output", "call_id": item.call_id, "output": f"{n} degrees"}
        for n, item in enumerate(first.output)
        if item.type == "function_call"
    ]
    second = await client.responses.create(
        model="fast",
        input=results,  # type: ignore[arg-type]
        previous_response_id=first.id,
        tools=[WEATHER],  # type: ignore[list-item]
    )
    assert second.output_text == "Done: 0 degrees; 1 degrees"
    roles = [message["role"] for message in gateway.engine.requests[-1]["messages"]]
    assert roles == ["user", "assistant", "tool", "tool"]


async def test_a_custom_tool_is_called_with_text(
    gateway: GatewayServer, client: openai.AsyncOpenAI
) -> None:
    gateway.engine.when("patch", Call("apply_patch", '{"input": "*** Begin"}'))
    tool = {"type": "custom", "name": "apply_patch", "description": "Changes files."}
    response = await client.responses.create(
        model="fast",
        input="patch it",
        tools=[tool],  # type: ignore[list-item]
    )
    (call,) = response.output
    assert call.type == "custom_tool_call" and call.input == "*** Begin"
    result = {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "patched"}
    second = await client.responses.create(
        model="fast",
        input=[result],  # type: ignore[list-item]
        previous_response_id=response.id,
    )
    assert second.output_text == "Done: patched"


async def test_an_answer_in_a_form_is_parsed(
    gateway: GatewayServer, client: openai.AsyncOpenAI
) -> None:
    gateway.engine.when("who", Say('{"name": "Ada", "age": 36}'))
    parsed = await client.responses.parse(model="fast", input="who", text_format=Person)
    assert parsed.output_parsed == Person(name="Ada", age=36)
    sent = gateway.engine.requests[-1]["response_format"]
    assert sent["type"] == "json_schema" and sent["json_schema"]["name"] == "Person"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_provider_that_breaks_off_leaves_a_response_that_failed(
    gateway: GatewayServer, stream: bool
) -> None:
    gateway.engine.when("break", Drop())
    body = {"model": "fast", "input": "break", "stream": stream}
    answer = await gateway.post("/v1/responses", body)
    if stream:
        events = events_of(answer.text)
        assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
        failed = events[-1]["response"]
        assert failed["error"]["code"] == "server_error"
        assert failed["output"][0]["status"] == "incomplete"
        headers = {"authorization": f"Bearer {gateway.secret}"}
        found = await gateway.client.get(
            f"{gateway.url}/v1/responses/{failed['id']}", headers=headers
        )
        assert found.json() == failed
    else:
        assert answer.status_code == 502 and answer.json()["error"]["code"] == "stream_broken"
    (row,) = await calls(gateway)
    assert (row.outcome, row.error_code) == ("failed", "stream_broken")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_fields_that_do_nothing_are_named(gateway: GatewayServer, stream: bool) -> None:
    path, asked = "/v1/responses", {"model": "fast", "input": "say Hello", "stream": stream}
    heeded = {"user": "ada", "temperature": 0.5, "include": [], "metadata": {"a": "b"}}
    response = await gateway.post(path, {**asked, **heeded, "store": False})
    assert response.status_code == 200 and "x-roost-ignored" not in response.headers
    ignored = {"max_tool_calls": 3, "wonder": {"a": 1}, "odd\r\nname": 1, "nothing": None}
    response = await gateway.post(path, {**asked, **heeded, **ignored})
    assert response.status_code == 200
    assert response.headers["x-roost-ignored"] == "max_tool_calls, wonder"
