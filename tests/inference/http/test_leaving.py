"""Nothing is computed for a client that left: before the first token, in mid-stream, anywhere."""

import asyncio
import json
import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest

from roost_inference.config import EngineConfig
from roost_inference.engine import Engine
from roost_inference.http.answer.engine_generation import EngineGeneration
from roost_inference.http.chat_service import EngineChatService
from roost_inference.http.listener import listening
from roost_inference.http.preparation import Preparation
from roost_inference.http.routes import ServiceHolder, build_app
from roost_inference.request import Listener, Request
from roost_inference.testing.puppet import PuppetEngine
from roost_inference.wire.chat_call import ChatCall

STREAM = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
WHOLE = {"messages": [{"role": "user", "content": "hi"}]}


class Visitor:
    """A bare connection, so that the test decides when it is cut."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def leave(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def visit(url: str, body: object) -> Visitor:
    port = int(url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = json.dumps(body).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
    head += f"content-length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    await writer.drain()
    return Visitor(reader, writer)


@pytest.mark.parametrize("body", [STREAM, WHOLE])
async def test_leaving_before_the_first_token_aborts(
    url: str, puppet: PuppetEngine, body: object
) -> None:
    visitor = await visit(url, body)
    request = await puppet.next_request()
    await visitor.leave()
    await puppet.idle()
    assert puppet.aborted == [request.id]


@pytest.mark.parametrize("body", [STREAM, WHOLE])
async def test_leaving_in_the_middle_aborts(url: str, puppet: PuppetEngine, body: object) -> None:
    visitor = await visit(url, body)
    request = await puppet.next_request()
    puppet.say("Once upon")
    if body is STREAM:
        await visitor.reader.readuntil(b"Once upon")
    await visitor.leave()
    await puppet.idle()
    assert puppet.aborted == [request.id]


async def test_leaving_while_the_request_is_prepared_ends_the_preparation(
    puppet: PuppetEngine,
) -> None:
    service = EngineChatService(puppet)
    entered, left = threading.Event(), threading.Event()

    def slow(call: ChatCall, body: Mapping[str, Any], preparation: Preparation) -> EngineGeneration:
        entered.set()
        try:
            for _ in range(1000):
                preparation.check()
                time.sleep(0.01)
        finally:
            left.set()
        raise AssertionError

    service.prepare = slow  # type: ignore[method-assign]
    async with listening(build_app(ServiceHolder(service), EngineConfig())) as url:
        visitor = await visit(url, STREAM)
        assert await asyncio.to_thread(entered.wait, 5)
        await visitor.leave()
        assert await asyncio.to_thread(left.wait, 5)
    assert not puppet.requests


async def test_leaving_while_the_request_is_handed_over_aborts_it_as_soon_as_it_runs(
    puppet: PuppetEngine,
) -> None:
    submit, entered, go = puppet.submit, threading.Event(), threading.Event()

    def slow(request: Request, listener: Listener) -> None:
        entered.set()
        go.wait(10)
        submit(request, listener)

    puppet.submit = slow  # type: ignore[method-assign]
    app = build_app(ServiceHolder(EngineChatService(puppet)), EngineConfig())
    async with listening(app) as url:
        visitor = await visit(url, STREAM)
        await asyncio.to_thread(entered.wait, 10)
        await visitor.leave()
        await asyncio.sleep(0.1)  # until the server has noticed
        go.set()
        async with asyncio.timeout(5):
            while not puppet.aborted:
                await asyncio.sleep(0.002)


async def test_an_answer_that_ended_aborts_nothing(url: str, puppet: PuppetEngine) -> None:
    puppet.answer = "done"
    visitor = await visit(url, STREAM)
    await visitor.reader.readuntil(b"[DONE]")
    await visitor.leave()
    await asyncio.sleep(0.05)
    assert puppet.aborted == []


async def test_a_client_that_leaves_while_it_sends_harms_nobody(
    url: str, puppet: PuppetEngine
) -> None:
    port = int(url.rsplit(":", 1)[1])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 99\r\n\r\n{"
    )
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.close()
    puppet.answer = "done"
    visitor = await visit(url, STREAM)
    await visitor.reader.readuntil(b"[DONE]")
    await visitor.leave()
    assert len(puppet.requests) == 1


async def test_the_server_stopping_aborts_what_runs(puppet: PuppetEngine) -> None:
    app = build_app(ServiceHolder(EngineChatService(puppet)), EngineConfig())
    async with listening(app) as url:
        visitor = await visit(url, STREAM)
        request = await puppet.next_request()
    assert puppet.aborted == [request.id]
    await visitor.leave()


@pytest.mark.parametrize("prompt", ["hi", "word " * 3000])
async def test_the_real_engine_is_idle_soon_after_a_client_left(
    real_engine: Engine, real_url: str, prompt: str
) -> None:
    """Also while it reads a long prompt: the step is interrupted, not waited for."""
    body = {
        "messages": [{"role": "user", "content": prompt}],
        "stream": True,
        "ignore_eos": True,
        "max_tokens": 4000,
    }
    visitor = await visit(real_url, body)
    async with asyncio.timeout(20):
        while real_engine.stats().running == 0:
            await asyncio.sleep(0.002)
        if prompt == "hi":
            await visitor.reader.readuntil(b'"content": "')
            await visitor.reader.readuntil(b'"content": "')
    await visitor.leave()
    async with asyncio.timeout(1):
        while real_engine.stats().running:
            await asyncio.sleep(0.002)
