"""Streams as real engines write them: every dialect becomes the same answer."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from roost_inference.client.assembly import UNFINISHED, AnswerUnfinished
from roost_inference.client.call_assembly import CallAssembly
from roost_inference.client.engine_client import ChatRequest, Completed, Delta, EngineClient
from roost_inference.errors import (
    EngineFailed,
    EngineRefused,
    EngineUnavailable,
    PromptTooLong,
)
from roost_inference.http.listener import listening
from roost_inference.testing.raw_server import raw_server

ASK = ChatRequest(messages=[{"role": "user", "content": "hi"}])
HEAD = "HTTP/1.1 200 OK\r\ncontent-type: {}\r\nconnection: close\r\n\r\n"


@contextlib.asynccontextmanager
async def engine(body: str, kind: str = "text/event-stream") -> AsyncIterator[str]:
    """A server that answers every request with these bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD.format(kind).encode() + body.encode())
        await writer.drain()

    async with raw_server(serve) as url:
        yield url


async def read(body: str, kind: str = "text/event-stream") -> tuple[Completed, str]:
    """The answer, and what people saw while it was written."""
    shown = ""
    async with engine(body, kind) as url:
        client = EngineClient(url, model="m")
        try:
            async for item in client.stream(ASK):
                if isinstance(item, Completed):
                    return item, shown
                assert isinstance(item, Delta)
                shown = item.text if item.replaces else shown + item.text
        finally:
            await client.close()
    raise AssertionError("no answer")


def chunk(finish_reason: str | None = None, **delta: Any) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return json.dumps({"id": "1", "choices": [choice]})


def events(*data: str) -> str:
    return "".join(f"data: {one}\n\n" for one in data)


@pytest.mark.parametrize(
    "body",
    [
        events(chunk(content="Hi"), chunk("stop"), "[DONE]"),
        events("", chunk(content="Hi"), "", " ", chunk("stop")),
        ": OPENROUTER PROCESSING\n\n" * 3 + events(chunk(content="Hi"), chunk("stop")),
        f"event: message\r\ndata:{chunk(content='Hi')}\r\n\r\ndata:{chunk('stop')}\r\n\r\n",
        "\ufeff" + events(chunk(content="Hi"), chunk("stop")),
        f"\n\n  \n\ndata: {chunk(content='Hi')}\n\nid: 7\nretry: 10\ndata: {chunk('stop')}",
        events(chunk(content="Hi"), chunk("end_turn")),
        events(chunk(content=[{"type": "text", "text": "H"}, {"text": "i"}]), chunk("stop")),
        events(chunk(role="assistant", content=""), chunk("STOP", content=["Hi"])),
        events(chunk(content=None, refusal="Hi"), chunk("stop")),
        events('{"choices": [{"index": 0, "text": "Hi"}]}', chunk("stop")),
        json.dumps({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}),
        f"{chunk(content='Hi')}\n{chunk('stop')}\n",
        json.dumps(json.loads(chunk("stop", content="Hi")), indent=2),
        json.dumps({"choices": [{"message": {"content": [{"type": "text", "text": "Hi"}]},
                                 "finish_reason": "stop"}]}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["text/event-stream", "application/json", "text/plain"])
async def test_every_form_of_a_stream_is_read(body: str, kind: str) -> None:
    completed, shown = await read(body, kind)
    assert (completed.text, completed.finish_reason) == ("Hi", "stop")
    assert shown == "Hi"


@pytest.mark.parametrize(
    ("said", "meant"),
    [("max_tokens", "length"), ("MAX_TOKENS", "length"), ("SAFETY", "content_filter")],
)
async def test_an_answer_ends_for_the_same_reason_in_every_dialect(said: str, meant: str) -> None:
    completed, _ = await read(events(chunk(said, content="Hi")))
    assert completed.finish_reason == meant


async def test_an_answer_without_a_finish_reason_says_so() -> None:
    completed, _ = await read(events(chunk(content="Hi"), "[DONE]"))
    assert (completed.text, completed.finish_reason) == ("Hi", UNFINISHED)
    with pytest.raises(AnswerUnfinished) as raised:
        await read(events(chunk(content="Hi")))
    assert raised.value.completed.text == "Hi"


@pytest.mark.parametrize(("said", "kind"), [("error", EngineFailed), ("abort", EngineUnavailable)])
async def test_an_answer_that_broke_is_no_answer(said: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        await read(events(chunk(said, content="Hi")))


async def test_errors_inside_an_answer_are_told() -> None:
    too_long = json.dumps({"error": {"message": "context size exceeded", "code": 400}})
    with pytest.raises(PromptTooLong):
        await read(events(chunk(content="Hi"), too_long))
    with pytest.raises(EngineFailed, match="broken"):
        await read('event: error\ndata: {"message": "broken"}\n\n')
    with pytest.raises(EngineFailed, match="no such thing"):
        await read('{"message": "no such thing"}', "application/json")
    with pytest.raises(EngineRefused, match="web page titled 'Log in'"):
        await read("<!doctype html><title>Log in</title>", "text/html")


CALL = {"name": "f", "arguments": '{"a": 1}'}


@pytest.mark.parametrize(
    "deltas",
    [
        [{"tool_calls": [{"function": CALL}, {"function": CALL}]}],
        [{"tool_calls": [{"id": "x", "function": CALL}]},
         {"tool_calls": [{"id": "x", "function": CALL}]}],
        [{"tool_calls": [{"index": 0, "id": "x", "function": {"name": "f", "arguments": ""}}]},
         {"tool_calls": [{"index": 0, "function": {"arguments": '{"a": '}}]},
         {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]},
         {"tool_calls": [{"index": 1, "id": "x", "function": CALL}]}],
        [{"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": {"a": 1}}}]},
         {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": {"a": 1}}}]}],
        [{"tool_calls": [{"index": 0, "id": "x", "function": {"name": "f", "arguments": '{"a"'}}]},
         {"tool_calls": [{"index": 0, "id": "x", "function": {"name": "f", "arguments": ": 1}"}}]},
         {"tool_calls": [{"index": 1, "id": "y", "function": CALL}]}],
    ],
)  # fmt: skip
async def test_tool_calls_are_put_together_in_every_dialect(deltas: list[dict[str, Any]]) -> None:
    completed, _ = await read(events(*(chunk(**one) for one in deltas), chunk("tool_calls")))
    assert [(c.name, json.loads(c.arguments)) for c in completed.tool_calls] == [
        ("f", {"a": 1}),
        ("f", {"a": 1}),
    ]
    assert len({call.id for call in completed.tool_calls}) == 2


@pytest.mark.parametrize("field", ["parameters", "input"])
async def test_arguments_under_another_name_are_read(field: str) -> None:
    call = {"index": 0, "id": "x", "function": {"name": "f", field: {"a": 1}}}
    completed, _ = await read(events(chunk(tool_calls=[call]), chunk("tool_calls")))
    assert json.loads(completed.tool_calls[0].arguments) == {"a": 1}


@pytest.mark.parametrize("pieces", [["cal", "cul", "ator"], ["calc", "ulator"], ["calculator"]])
def test_the_name_of_a_call_may_come_in_pieces(pieces: list[str]) -> None:
    calls = CallAssembly(["calculator", "clock"])
    for piece in pieces:
        calls.add_all({"tool_calls": [{"index": 0, "function": {"name": piece}}]})
    calls.add_all({"tool_calls": [{"index": 0, "function": {"arguments": '{"a": 1}'}}]})
    calls.add_all({"tool_calls": [{"index": 1, "function": {"name": "clock"}}]})
    assert [(c.name, c.arguments) for c in calls.completed()] == [
        ("calculator", '{"a": 1}'),
        ("clock", "{}"),
    ]


def test_two_calls_with_one_number_are_not_one_name() -> None:
    calls = CallAssembly(["f", "ff", "g"])
    for name in ("f", "f", "g"):
        calls.add_all({"tool_calls": [{"index": 0, "function": {"name": name}}]})
    assert [call.name for call in calls.completed()] == ["f", "f", "g"]


async def test_halves_of_a_character_that_came_apart_are_one() -> None:
    body = events(chunk(content="a \ud83d"), chunk(content="\ude00 b \ud83d"), chunk("stop"))
    completed, shown = await read(body)
    assert completed.text == shown == "a 😀 b \ufffd"


async def test_halves_in_the_arguments_of_a_call_are_one() -> None:
    pieces = [{"name": "f", "arguments": '{"a": "\ud83d'}, {"arguments": '\ude00"}'}]
    deltas = [chunk(tool_calls=[{"index": 0, "function": piece}]) for piece in pieces]
    completed, _ = await read(events(*deltas, chunk("tool_calls")))
    assert json.loads(completed.tool_calls[0].arguments) == {"a": "😀"}


async def test_the_old_form_of_a_call_is_read() -> None:
    body = events(
        chunk(function_call={"name": "f", "arguments": '{"a"'}),
        chunk(function_call={"arguments": ": 1}"}),
        chunk("function_call"),
    )
    completed, _ = await read(body)
    assert completed.finish_reason == "tool_calls"
    assert [(c.name, c.arguments) for c in completed.tool_calls] == [("f", '{"a": 1}')]


@pytest.mark.parametrize("odd", [{"tool_calls": 5}, {"tool_calls": ["x"]}, {"content": 5}])
async def test_a_message_of_no_known_form_is_a_failure_of_the_engine(odd: dict[str, Any]) -> None:
    with pytest.raises(EngineFailed):
        await read(events(chunk(**odd)))


async def test_counts_that_are_no_numbers_are_left_out() -> None:
    usage = {"prompt_tokens": "many", "completion_tokens": True, "prompt_tokens_details": 7}
    last = json.dumps({"choices": [], "usage": usage})
    completed, _ = await read(events(chunk("stop", content="Hi"), last))
    assert (completed.prompt_tokens, completed.completion_tokens, completed.cached_tokens) == (
        0,
        0,
        0,
    )


async def test_a_key_that_an_engine_repeats_in_its_refusal_is_not_told() -> None:
    async def refuse(request: Request) -> Response:
        said = f"Incorrect API key: {request.headers['authorization']}"
        return JSONResponse({"error": {"message": said}}, 401)

    app = Starlette(routes=[Route("/{path:path}", refuse, methods=["GET", "POST"])])
    async with listening(app) as url:
        client = EngineClient(url, model="m", api_key="sk-very-secret")
        for ask in (client.complete(ASK), client.models(), client.health()):
            with pytest.raises(EngineRefused, match=r"Incorrect API key: Bearer \[key\]"):
                await ask
        await client.close()
