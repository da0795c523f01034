"""An engine that stops tells everybody who waits: an error event in streams, 503 elsewhere."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest

from roost_inference.config import EngineConfig
from roost_inference.engine import FAILURES_IN_A_ROW_MAX
from roost_inference.http.chat_service import EngineChatService
from roost_inference.http.connections import ConnectionLimits
from roost_inference.http.listener import SignalServer, bind, listening, url_of
from roost_inference.http.routes import ServiceHolder, build_app
from roost_inference.request import Request
from roost_inference.server import build_server
from roost_inference.testing.harness import toy_engine
from roost_inference.testing.puppet import PuppetEngine
from roost_inference.testing.toy import ToyBackend

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}


def last_event(text: str) -> dict[str, Any]:
    """The last event before the end mark."""
    events = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    value: dict[str, Any] = json.loads(events[-2])
    return value


async def test_streams_end_with_an_error_and_others_get_503(puppet: PuppetEngine) -> None:
    listener = bind("127.0.0.1", 0)
    server = SignalServer(build_server(puppet), catch_signals=False)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    async with httpx2.AsyncClient(base_url=url_of(listener), trust_env=False, timeout=30) as http:
        bodies = [
            (CHAT, {**BODY, "stream": True}),
            ("/v1/completions", {"prompt": "a", "stream": True}),
            (CHAT, BODY),
            ("/v1/completions", {"prompt": ["a", "b"]}),
        ]
        asking = [asyncio.create_task(http.post(path, json=body)) for path, body in bodies]
        while len(puppet.requests) < 5:
            await asyncio.sleep(0.005)
        for id in puppet.requests:
            puppet.say("Half an ans", id)
        await asyncio.sleep(0.1)
        server.should_exit = True
        chat, completion, whole, several = await asyncio.gather(*asking)
        for stream in (chat, completion):
            assert "Half an ans" in stream.text
            assert last_event(stream.text)["error"]["code"] == "engine_unavailable"
        for answer in (whole, several):
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "engine_unavailable"
            assert answer.headers["retry-after"] and answer.headers["x-request-id"]
    await serving
    listener.close()
    assert sorted(puppet.aborted) == sorted(puppet.requests)


async def test_a_request_that_is_being_prepared_gets_503(puppet: PuppetEngine) -> None:
    entered, release = threading.Event(), threading.Event()
    service = EngineChatService(puppet)
    prepare = service.prepare

    def slow(*arguments: Any) -> Any:
        entered.set()
        release.wait(20)
        return prepare(*arguments)

    service.prepare = slow  # type: ignore[method-assign, assignment]
    listener = bind("127.0.0.1", 0)
    server = SignalServer(build_app(ServiceHolder(service), EngineConfig()), catch_signals=False)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    async with httpx2.AsyncClient(base_url=url_of(listener), trust_env=False, timeout=30) as http:
        asking = asyncio.create_task(http.post(CHAT, json=BODY))
        await asyncio.to_thread(entered.wait, 20)
        server.should_exit = True
        answer = await asking
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_unavailable")
    release.set()
    await serving
    listener.close()


def test_sigterm_in_mid_stream_is_told(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "roost_inference", "--port", "0", "--data", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": "inference", "PATH": ""},
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with httpx2.Client(base_url=url, timeout=90, trust_env=False) as http:
            for _ in range(3000):
                if http.get("/ping").status_code == 200:
                    break
                threading.Event().wait(0.02)
            body = {**BODY, "stream": True, "ignore_eos": True}
            with http.stream("POST", CHAT, json=body) as stream:
                parts = []
                for part in stream.iter_text():
                    parts.append(part)
                    if len(parts) == 5:
                        process.send_signal(signal.SIGTERM)
        assert last_event("".join(parts))["error"]["code"] == "engine_unavailable"
        assert process.wait(30) == 0
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


async def test_a_step_that_fails_ends_streams_with_an_error_to_the_last_one() -> None:
    backend = ToyBackend(cells=512)
    engine = toy_engine(backend)
    decodes = 0

    def fail(batch: object) -> None:
        nonlocal decodes
        decodes += 1
        if decodes % 3 == 0:
            raise RuntimeError("a broken kernel")

    backend.on_decode = fail
    engine.start()
    try:
        async with (
            listening(build_server(engine)) as url,
            httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30) as http,
        ):
            for _ in range(FAILURES_IN_A_ROW_MAX):
                body = {**BODY, "stream": True, "ignore_eos": True, "max_tokens": 50}
                reply = await http.post(CHAT, json=body)
                assert last_event(reply.text)["error"]["code"] == "engine_failed"
    finally:
        engine.close()


@pytest.mark.parametrize(
    "half",
    [
        b"POST /v1/chat/completions HT",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 90\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 90\r\n\r\n{",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked"
        b'\r\n\r\n5\r\n{"a":',
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 90\r\n"
        b"expect: 100-continue\r\n\r\n",
        b"POST /tokenize HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 90\r\n\r\n{",
        b"POST /v1/sessions/a/pin HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 90\r\n\r\n{",
    ],
)
@pytest.mark.parametrize("after_another", [False, True])
async def test_half_a_request_is_told_that_it_was_too_slow(
    puppet: PuppetEngine, half: bytes, after_another: bool
) -> None:
    limits = ConnectionLimits(head_s=0.3, body_s=0.3)
    async with listening(build_server(puppet), limits=limits) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        if after_another:
            writer.write(b"HEAD /ping HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            assert b"200" in await reader.readuntil(b"\r\n\r\n")
        writer.write(half)
        async with asyncio.timeout(20):
            answer = await reader.read()  # to the end of the connection
        assert b"HTTP/1.1 408 Request Timeout" in answer
        writer.close()
    assert not puppet.requests


async def test_a_stopping_engine_takes_nothing_back_that_was_answered(
    puppet: PuppetEngine,
) -> None:
    puppet.answer = "whole"
    async with (
        listening(build_server(puppet)) as url,
        httpx2.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        answer = await http.post(CHAT, json=BODY)
    assert answer.json()["choices"][0]["message"]["content"] == "whole"
    requests: list[Request] = list(puppet.requests.values())
    assert len(requests) == 1
