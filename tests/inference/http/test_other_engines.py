"""The client against engines that leave things out, refuse fields, or break."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from roost_inference.client.assembly import ANSWER_CHARACTERS_MAX, AnswerAssembly
from roost_inference.client.call_assembly import CALLS_MAX
from roost_inference.client.engine_client import (
    BODY_BYTES_MAX,
    ChatRequest,
    Completed,
    EngineClient,
    ToolCall,
)
from roost_inference.client.refusals import refusal
from roost_inference.errors import (
    BadGrammar,
    BodyTooLarge,
    EngineError,
    EngineFailed,
    EngineRefused,
    EngineUnavailable,
    InvalidRequest,
    PromptTooLong,
    QueueFull,
    UnknownModel,
)
from roost_inference.http.listener import listening
from roost_inference.testing.puppet import PuppetEngine
from roost_inference.testing.raw_server import raw_server

ASK = ChatRequest(messages=[{"role": "user", "content": "hi"}])


async def test_an_engine_that_accepts_and_says_nothing_is_unavailable() -> None:
    async with raw_engine(b"") as url:
        client = EngineClient(url, model="m", read_timeout_s=0.1)
        with pytest.raises(EngineUnavailable):
            await client.complete(ASK)
        await client.close()


@contextlib.asynccontextmanager
async def raw_engine(answer: bytes, *, hang: bool = False) -> AsyncIterator[str]:
    """A server that sends these bytes to every request, then closes, or stays silent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if hang or not answer:
            await asyncio.Event().wait()

    async with raw_server(serve) as url:
        yield url


def sse(*events: Any) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    return head + b"".join(f"data: {json.dumps(event)}\n\n".encode() for event in events)


def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"delta": delta, "finish_reason": finish_reason}]}


async def answer_of(raw: bytes) -> Completed:
    async with raw_engine(raw) as url:
        client = EngineClient(url, model="m")
        try:
            return await client.complete(ASK)
        finally:
            await client.close()


async def test_a_connection_lost_in_mid_stream_is_unavailable_not_an_answer() -> None:
    whole = sse(chunk({"content": "Hel"}))
    for raw in (whole, whole + b'data: {"choi', sse(), sse()[:20]):
        with pytest.raises(EngineUnavailable):
            await answer_of(raw)


@contextlib.asynccontextmanager
async def picky_engine(unknown: set[str]) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """An engine that refuses unknown fields by name; gives its URL and what it was sent."""
    bodies: list[dict[str, Any]] = []

    async def answer(request: Request) -> Response:
        bodies.append(await request.json())
        known = bodies[-1]["messages"][-1]["content"] != "refuse this"
        for name in sorted(unknown & set(bodies[-1])) if known else ["cache_salt priority"]:
            message = f"Unrecognized request argument supplied: {name}"
            return JSONResponse({"error": {"message": message}}, 400)
        text = f"data: {json.dumps(chunk({'content': 'hi'}, 'stop'))}\n\n"
        return Response(text, media_type="text/event-stream")

    app = Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])
    async with listening(app) as url:
        yield url, bodies


async def test_fields_an_engine_does_not_know_are_left_out_from_then_on() -> None:
    ask = replace(ASK, cache_salt="tenant", priority=1)
    async with picky_engine({"cache_salt", "priority"}) as (url, bodies):
        client = EngineClient(url, model="m")
        assert [(await client.complete(ask)).text for _ in range(2)] == ["hi", "hi"]
        await client.close()
    assert ["cache_salt" in body for body in bodies] == [True, False, False, False]
    assert ["priority" in body for body in bodies] == [True, True, False, False]


async def test_a_priority_refused_late_is_left_out_but_the_salt_stays() -> None:
    first, later = replace(ASK, cache_salt="t"), replace(ASK, cache_salt="t", priority=1)
    async with picky_engine({"priority"}) as (url, bodies):
        client = EngineClient(url, model="m")
        for ask in (first, later, later):
            assert (await client.complete(ask)).text == "hi"
        await client.close()
    assert ["priority" in body for body in bodies] == [False, True, False, False]
    assert all(body["cache_salt"] == "t" for body in bodies)


async def test_a_refusal_that_only_repeats_a_fields_name_never_ends_the_salt() -> None:
    ask = replace(ASK, cache_salt="tenant", priority=1)
    hostile = replace(ask, messages=[{"role": "user", "content": "refuse this"}])
    async with picky_engine(set()) as (url, bodies):
        client = EngineClient(url, model="m")
        await client.complete(ask)
        with pytest.raises(InvalidRequest):
            await client.complete(hostile)
        await client.complete(ask)
        await client.close()
    assert [body["cache_salt"] for body in bodies] == ["tenant"] * len(bodies)
    assert bodies[-1]["priority"] == 1


async def test_engines_may_leave_out_usage_and_ids_and_the_end_mark() -> None:
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    other = {"function": {"name": "f", "arguments": "{}"}}
    raw = sse(chunk({"tool_calls": [call]}), chunk({"tool_calls": [other]}, "tool_calls"))
    completed = await answer_of(raw)
    assert [(c.name, c.arguments) for c in completed.tool_calls] == [("f", '{"a": 1}'), ("f", "{}")]
    assert all(c.id.startswith("call_") for c in completed.tool_calls)
    assert completed.prompt_tokens == completed.completion_tokens == 0


def parts(*deltas: dict[str, Any]) -> tuple[ToolCall, ...]:
    answer = AnswerAssembly("m")
    for delta in deltas:
        answer.add(chunk({"tool_calls": [delta]}))
    answer.add(chunk({}, "tool_calls"))
    return answer.completed().tool_calls


def test_calls_are_put_together_however_they_are_numbered() -> None:
    def function(name: str = "", arguments: str = "") -> dict[str, str]:
        return {"name": name, "arguments": arguments}

    expected = (ToolCall("1", "f", '{"a"}'), ToolCall("2", "g", "{}"))
    numbered = parts(
        {"index": 0, "id": "1", "function": function("f")},
        {"index": 1, "id": "2", "function": function("g", "{}")},
        {"index": 0, "function": function(arguments='{"a"')},
        {"index": 0, "function": function(arguments="}")},
    )
    all_zero = parts(
        {"index": 0, "id": "1", "function": function("f", '{"a"')},
        {"index": 0, "id": "1", "function": function("f", "}")},
        {"index": 0, "id": "2", "function": function("g", "{}")},
    )
    unnumbered = parts(
        {"id": "1", "function": function("f", '{"a"')},
        {"function": function(arguments="}")},
        {"id": "2", "function": function("g", "{}")},
    )
    assert numbered == all_zero == unnumbered == expected


async def test_a_huge_error_page_is_not_read_to_its_end() -> None:
    head = b"HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\n\r\n"
    page = b"<html>" + b"x" * (BODY_BYTES_MAX + 100_000)
    async with asyncio.timeout(5), raw_engine(head + page, hang=True) as url:
        client = EngineClient(url, model="m")
        with pytest.raises(EngineUnavailable, match="HTTP 502") as raised:
            await client.complete(ASK)
        assert len(raised.value.message) < 300
        await client.close()


async def test_an_endless_event_is_cut() -> None:
    raw = sse()[:-2] + b"\r\n\r\ndata: " + b"x" * 3_000_000
    with pytest.raises(EngineUnavailable):
        await answer_of(raw)


def test_the_number_of_calls_in_an_answer_is_bounded() -> None:
    calls = [{"id": str(n), "function": {"name": "f"}} for n in range(CALLS_MAX + 1)]
    with pytest.raises(EngineFailed, match="tool calls"):
        parts(*calls)


def test_an_endless_answer_is_cut() -> None:
    answer = AnswerAssembly("m")
    with pytest.raises(EngineFailed, match="longer than"):
        for _ in range(ANSWER_CHARACTERS_MAX // 500_000 + 1):
            answer.add(chunk({"content": "x" * 500_000}))


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"message": "This model's maximum context length is 9"}, PromptTooLong),
        (400, {"message": "bad", "code": "invalid_schema"}, BadGrammar),
        (401, {"message": "who?", "code": "invalid_api_key"}, EngineRefused),
        (404, {"message": "model 'x' not found", "code": 404}, UnknownModel),
        (413, {"message": "large"}, BodyTooLarge),
        (422, {"message": "odd"}, InvalidRequest),
        (429, {"message": "slow down"}, QueueFull),
        (500, {"message": "oops"}, EngineFailed),
        (503, {"message": "later"}, EngineUnavailable),
    ],
)
def test_other_engines_errors_are_understood(
    status: int, body: dict[str, Any], kind: type[EngineError]
) -> None:
    error = refusal(status, {"retry-after": "3"}, json.dumps({"error": body}).encode())
    assert type(error) is kind
    assert error.message == body["message"]
    if isinstance(error, QueueFull):
        assert error.retry_after_s == 3


def test_an_error_without_json_keeps_its_status_and_beginning() -> None:
    error = refusal(429, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, b"<html>no</html>")
    assert isinstance(error, QueueFull)
    assert error.retry_after_s == 1.0
    assert "HTTP 429: <html>no</html>" in error.message


async def test_health_of_engines_that_have_none_like_ours() -> None:
    plain = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    loading = b'HTTP/1.1 503 X\r\nconnection: close\r\n\r\n{"status": "starting"}'
    for raw, status in ((plain, "ok"), (loading, "starting")):
        async with raw_engine(raw) as url:
            client = EngineClient(url)
            assert (await client.health())["status"] == status
            await client.close()


async def test_a_base_url_may_carry_its_own_path(url: str, puppet: PuppetEngine) -> None:
    puppet.answer = "ok"
    for base in (url, f"{url}/", f"{url}/v1", f"{url}/v1/"):
        client = EngineClient(base)
        assert (await client.complete(ASK)).text == "ok"
        assert (await client.health())["status"] == "ok"
        await client.close()
