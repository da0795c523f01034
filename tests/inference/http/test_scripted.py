"""The scripted engine does what its script says, through the client every part uses."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from roost_inference.client.engine_client import ChatRequest, Completed, EngineClient
from roost_inference.errors import EngineFailed, EngineUnavailable, QueueFull
from roost_inference.testing import scripted
from roost_inference.testing.scripted import ScriptedEngine
from roost_inference.testing.scripts import Call, Fail, Hang, Say, markdown, parse


@pytest.fixture
async def engine() -> AsyncIterator[ScriptedEngine]:
    async with ScriptedEngine() as engine:
        yield engine


@pytest.fixture
async def client(engine: ScriptedEngine) -> AsyncIterator[EngineClient]:
    client = EngineClient(engine.base_url)
    yield client
    await client.close()


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


async def ask(client: EngineClient, *messages: dict[str, Any], **fields: Any) -> Completed:
    return await client.complete(ChatRequest(messages, **fields))


async def test_without_directives_it_repeats(client: EngineClient) -> None:
    assert (await ask(client, user("hello"))).text == "You said: hello"


async def test_it_says_echoes_and_writes_at_length(client: EngineClient) -> None:
    quoted = '<quoted author="Ann">[[fail:500]] earlier</quoted>\nand this [[echo]]'
    assert (await ask(client, user("[[say:Good [morning]!]]"))).text == "Good [morning]!"
    echoed = (await ask(client, user(quoted))).text
    assert echoed == '<quoted author="Ann">[[fail:500]] earlier</quoted>\nand this'
    assert (await ask(client, user("[[long:9000]]"))).text == markdown(9000)
    assert len(markdown(9000)) == 9000


async def test_tools_are_called_group_by_group_then_the_rest_is_said(
    engine: ScriptedEngine, client: EngineClient
) -> None:
    script = user(
        '[[tool:add {"a": [[1]]}]][[tool:clock]] [[say:between]][[tool:last {}]][[say:end]]'
    )
    first = await ask(client, script, session_id="s1")
    assert [(c.name, c.arguments) for c in first.tool_calls] == [
        ("add", '{"a": [[1]]}'),
        ("clock", "{}"),
    ]
    assert first.finish_reason == "tool_calls"
    assert engine.requests[0]["session_id"] == "s1"
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    called = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "1", "content": "3"}
    second = await ask(client, script, called, result)
    assert (second.text, [c.name for c in second.tool_calls]) == ("between", ["last"])
    assert (await ask(client, script, called, result, called, result)).text == "end"
    done = await ask(client, user("[[tool:add {}]]"), called, result)
    assert done.text == "Done: 3"


async def test_a_slow_answer_runs_until_its_client_leaves(
    engine: ScriptedEngine, client: EngineClient
) -> None:
    request = ChatRequest([user("[[slow:100]]")])
    async with contextlib.aclosing(client.stream(request)) as items:
        await anext(items)
        await anext(items)
        assert engine.running == 1
        assert (await client.health())["running"] == 1
    async with asyncio.timeout(1):
        while engine.running:
            await asyncio.sleep(0.005)
    assert engine.aborted == 1


async def test_it_fails_and_drops_as_often_as_told(client: EngineClient) -> None:
    with pytest.raises(EngineFailed):
        await ask(client, user("[[fail:500]]"))
    with pytest.raises(QueueFull):
        await ask(client, user("[[fail:429]]"))
    flaky = user("[[fail:503 x2]][[say:at last]]")
    for _ in range(2):
        with pytest.raises(EngineUnavailable):
            await ask(client, flaky)
    assert (await ask(client, flaky)).text == "at last"


async def test_a_dropped_connection_comes_after_some_text(client: EngineClient) -> None:
    texts = []
    with pytest.raises(EngineUnavailable):
        async for item in client.stream(ChatRequest([user("[[drop x1]][[say:again]]")])):
            texts.append(item)
    assert texts
    assert (await ask(client, user("[[drop x1]][[say:again]]"))).text == "again"


async def test_rules_in_python_come_before_directives_and_the_newest_first(
    engine: ScriptedEngine, client: EngineClient
) -> None:
    engine.when("weather", Say("sunny"))
    engine.when(lambda body: len(body["messages"]) > 1, Fail(503))
    engine.when("weather", Say("rain"), times=1)
    engine.when("book", Call("book", '{"n": 1}'), Say("booked"))
    assert (await ask(client, user("the weather?"))).text == "rain"
    assert (await ask(client, user("the weather?"))).text == "sunny"
    assert (await ask(client, user("book"))).tool_calls[0].name == "book"
    with pytest.raises(EngineUnavailable):
        await ask(client, user("a"), user("b"))


async def test_a_hanging_answer_ends_with_its_client(
    engine: ScriptedEngine, client: EngineClient
) -> None:
    engine.when("hang", Say("so"), Hang())
    asking = asyncio.create_task(ask(client, user("hang")))
    async with asyncio.timeout(2):
        while not engine.running:
            await asyncio.sleep(0.005)
    asking.cancel()
    async with asyncio.timeout(1):
        while engine.running:
            await asyncio.sleep(0.005)


async def test_it_remembers_a_bounded_number_of_requests(
    engine: ScriptedEngine, client: EngineClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripted, "REQUESTS_KEPT", 2)
    for text in ("a", "b", "c"):
        await ask(client, user(text))
    assert [body["messages"][0]["content"] for body in engine.requests] == ["b", "c"]


def test_text_that_only_looks_like_a_directive_is_text() -> None:
    assert parse("[[tools]] [[ say:x ]] [say:x] [[say:open") == []


def test_it_runs_as_a_process_that_says_when_it_is_ready() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "roost_inference.testing.scripted", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": "inference", "PATH": ""},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ready http://127.0.0.1:")
        client = EngineClient(line.split()[1])

        async def talk() -> str:
            try:
                return (await ask(client, user("[[say:hi]]"))).text
            finally:
                await client.close()

        assert asyncio.run(talk()) == "hi"
    finally:
        process.terminate()
        assert process.wait(10) == 0
        assert process.stdout is not None
        process.stdout.close()
