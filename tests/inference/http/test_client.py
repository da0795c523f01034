"""The client against our server: what arrives, what errors mean, and what leaving stops."""

import asyncio
import contextlib
from dataclasses import replace

import pytest

from roost_inference.client.engine_client import ChatRequest, Completed, Delta, EngineClient
from roost_inference.errors import (
    BadGrammar,
    EngineError,
    EngineFailed,
    EngineUnavailable,
    PromptTooLong,
    QueueFull,
    UnknownModel,
)
from roost_inference.http.listener import bind, url_of
from roost_inference.testing.puppet import PuppetEngine

ASK = ChatRequest(messages=[{"role": "user", "content": "hi"}])


async def collect(client: EngineClient, request: ChatRequest = ASK) -> list[Delta | Completed]:
    return [item async for item in client.stream(request)]


async def test_deltas_come_first_and_the_whole_last(
    client: EngineClient, puppet: PuppetEngine
) -> None:
    asking = asyncio.create_task(collect(client))
    await puppet.next_request()
    puppet.say("Hello ")
    await asyncio.sleep(0.05)
    puppet.say("you")
    puppet.finish()
    *deltas, completed = await asking
    assert deltas == [Delta("Hello "), Delta("you")]
    assert isinstance(completed, Completed)
    assert (completed.text, completed.finish_reason, completed.model) == (
        "Hello you",
        "stop",
        "puppet",
    )
    assert completed.message_id.startswith("chatcmpl-")
    assert (completed.cached_tokens, completed.completion_tokens) == (3, 5)


async def test_the_request_arrives_with_its_session_and_tools(
    client: EngineClient, puppet: PuppetEngine
) -> None:
    puppet.answer = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    tools = [{"type": "function", "function": {"name": "f"}}]
    request = ChatRequest(
        ASK.messages,
        tools,
        max_tokens=9,
        temperature=0.0,
        stop=["X"],
        session_id="s",
        cache_salt="c",
        priority=3,
        extra={"top_k": 4},
    )
    completed = await client.complete(request)
    assert [(call.name, call.arguments) for call in completed.tool_calls] == [("f", "{}")]
    assert completed.finish_reason == "tool_calls"
    sent = puppet.last
    assert (sent.session.session_id, sent.session.cache_salt, sent.priority) == ("s", "c", 3)
    assert (sent.max_tokens, sent.stop, sent.sampling.top_k) == (9, ("X",), 4)


@pytest.mark.parametrize(
    "error",
    [
        PromptTooLong("long", param="messages"),
        BadGrammar("schema", param="tools"),
        QueueFull("full", retry_after_s=9),
        EngineUnavailable("stopping"),
        EngineFailed("broken"),
    ],
)
async def test_errors_cross_the_wire_as_themselves(
    client: EngineClient, puppet: PuppetEngine, error: EngineError
) -> None:
    puppet.refuse = error
    with pytest.raises(EngineError) as raised:
        await client.complete(ASK)
    assert type(raised.value) is type(error)
    assert raised.value.message == error.message
    assert raised.value.param == error.param
    if isinstance(raised.value, QueueFull):
        assert raised.value.retry_after_s == 9


async def test_a_model_asked_for_by_name_must_exist_any_other_is_looked_up_again(
    url: str, client: EngineClient, puppet: PuppetEngine
) -> None:
    named = EngineClient(url, model="other")
    with pytest.raises(UnknownModel):
        await named.complete(ASK)
    await named.close()
    puppet.answer = "ok"
    await client.complete(ASK)
    puppet.model = replace(puppet.model, name="newer")
    with pytest.raises(EngineUnavailable, match="model has changed"):
        await client.complete(ASK)
    assert (await client.complete(ASK)).model == "newer"


async def test_a_failure_in_mid_stream_is_raised_after_the_text(
    client: EngineClient, puppet: PuppetEngine
) -> None:
    texts = []

    async def read() -> None:
        async for item in client.stream(ASK):
            texts.append(item)

    reading = asyncio.create_task(read())
    await puppet.next_request()
    puppet.say("Hel")
    puppet.finish("error", error=EngineFailed("kernels"))
    with pytest.raises(EngineFailed, match="kernels"):
        await reading
    assert texts == [Delta("Hel")]


@pytest.mark.parametrize("how", ["cancel", "aclose"])
async def test_stopping_to_read_stops_the_engine(
    client: EngineClient, puppet: PuppetEngine, how: str
) -> None:
    if how == "cancel":
        task = asyncio.create_task(collect(client))
        await puppet.next_request()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    else:
        async with contextlib.aclosing(client.stream(ASK)) as items:
            first = asyncio.ensure_future(anext(items))
            await puppet.next_request()
            puppet.say("Hel")
            assert await first == Delta("Hel")
    async with asyncio.timeout(1):
        await puppet.idle()
    assert len(puppet.aborted) == 1


async def test_a_refused_connection_is_unavailable() -> None:
    listener = bind("127.0.0.1", 0)
    url = url_of(listener)
    listener.close()
    client = EngineClient(url, model="m")
    for attempt in (client.complete(ASK), client.health(), client.models()):
        with pytest.raises(EngineUnavailable, match="can't be reached"):
            await attempt
    await client.close()


async def test_health_and_models(client: EngineClient) -> None:
    assert (await client.health())["model"] == "puppet"
    assert await client.models() == ["puppet"]
