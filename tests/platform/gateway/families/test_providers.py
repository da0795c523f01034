"""What providers with OpenAI's wire are asked, and what becomes of answers that are none."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from roost_platform.db import models
from roost_platform.gateway.providers.chat_body import WireHabits, chat_body, habits_of
from roost_platform.gateway.providers.connection import ERROR_BYTES_MAX
from roost_platform.gateway.request import ModelRequest
from roost_platform.testing.providers.fake_provider import (
    FakeProvider,
    Reply,
    delta,
    event,
    fake_provider,
    json_reply,
    said,
)
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server

HELLO = {"model": "other", "messages": [{"role": "user", "content": "Hello"}]}
CLAUDE = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "Hi"}]}


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with fake_provider() as provider:
        yield provider


@pytest.fixture
async def gateway(tmp_path: Path, provider: FakeProvider) -> AsyncIterator[GatewayServer]:
    overrides = {
        "providers": {"other": {"base_url": provider.url, "read_timeout_s": 0.5}},
        "models": {"other": {"targets": ["other/m"]}},
        "gateway": {"retries": 0, "failures_before_cooldown": 100},
    }
    async with gateway_server(tmp_path, overrides=overrides) as server:
        yield server


async def ask(gateway: GatewayServer, **fields: Any) -> tuple[int, dict[str, Any]]:
    response = await gateway.post("/v1/chat/completions", {**HELLO, **fields})
    assert response.headers["x-request-id"]
    value: dict[str, Any] = response.json()
    return response.status_code, value


async def last_event(gateway: GatewayServer) -> dict[str, Any]:
    """The last event before [DONE] of a streamed answer."""
    response = await gateway.post("/v1/chat/completions", {**HELLO, "stream": True})
    events = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    value: dict[str, Any] = json.loads(events[-2])
    return value


async def test_each_way_to_answer_badly_is_an_error_of_its_own(
    gateway: GatewayServer, provider: FakeProvider
) -> None:
    provider.chat(lambda body: json_reply(CLAUDE))
    status, shape = await ask(gateway)
    assert status == 502
    stream = {"type": "message_start", "message": CLAUDE}
    provider.chat(lambda body: Reply([event(stream)] * 3))
    assert (await ask(gateway))[1]["error"]["code"] == shape["error"]["code"]
    provider.chat(lambda body: Reply([delta({"content": "Hel"})], end="broken"))
    _, broken = await ask(gateway)
    provider.chat(lambda body: json_reply({"error": {"message": "no", "code": "x"}}, status=500))
    _, failed = await ask(gateway)
    page = Reply([b"<html><title>Sign in</title></html>"], content_type="text/html")
    provider.chat(lambda body: page)
    _, html = await ask(gateway)
    codes = [answer["error"]["code"] for answer in (html, shape, broken, failed)]
    assert codes[1:] == ["unreadable_answer", "stream_broken", "x"]
    assert codes[0].endswith("_refused")
    # A page's title may name what stands inside; its words are for the operator.
    assert "Sign in" not in html["error"]["message"]
    catalogue = gateway.app.serving.router.catalogue
    [target] = catalogue.find(str(HELLO["model"])).targets
    assert "Sign in" in target.health.last_error
    for answer in (html, shape, broken, failed):
        assert set(answer["error"]) == {"message", "type", "param", "code"}
    await gateway.until_idle()
    async with gateway.database.read() as session:
        rows = list(await session.scalars(select(models.GatewayCall)))
    assert {row.outcome for row in rows} == {"failed"} and len(rows) == 5
    assert sorted(row.output_tokens for row in rows) == [0, 0, 0, 0, 1]


@pytest.mark.parametrize("end", ["broken", "never"])
async def test_a_stream_that_breaks_or_stalls_ends_with_an_error_event(
    gateway: GatewayServer, provider: FakeProvider, end: str
) -> None:
    provider.chat(lambda body: Reply([delta({"content": "Hel"})], end=end))
    assert (await last_event(gateway))["error"]["code"] == "stream_broken"


async def test_the_body_of_an_error_is_read_up_to_a_bound(
    gateway: GatewayServer, provider: FakeProvider
) -> None:
    piece = b"x" * 2**20
    provider.chat(lambda body: Reply((piece for _ in range(114)), status=500))
    status, answer = await ask(gateway)
    assert status >= 500 and len(answer["error"]["message"]) < 2000
    assert provider.bytes_sent < 64 * 2**20  # what the sockets hold, and no more
    assert ERROR_BYTES_MAX <= 2**16


async def test_choices_that_a_provider_leaves_out_are_asked_for_again(
    gateway: GatewayServer, provider: FakeProvider
) -> None:
    provider.chat(lambda body: said(["Hi"], choices=min(body.get("n", 1), 2)))
    _, answer = await ask(gateway, n=4)
    assert [one["message"]["content"] for one in answer["choices"]] == ["Hi"] * 4
    assert [body.get("n") for body in provider.bodies] == [4, None, None]
    assert answer["usage"]["completion_tokens"] == 4 * 3
    refusal = {"error": {"message": "n has to be 1", "param": "n"}}
    provider.chat(lambda body: json_reply(refusal, status=400) if "n" in body else said(["Ho"]))
    _, answer = await ask(gateway, n=2)
    assert [one["message"]["content"] for one in answer["choices"]] == ["Ho", "Ho"]


async def test_one_choice_that_fails_ends_all_of_them(
    gateway: GatewayServer, provider: FakeProvider
) -> None:
    refusal = {"error": {"message": "n has to be 1", "param": "n"}}
    replies = [
        json_reply(refusal, status=400),
        Reply([delta({"content": "a"})], end="never"),
        Reply([delta({"content": "b"})], end="broken"),
    ]
    provider.chat(lambda body: replies[len(provider.bodies) - 1])
    _, answer = await ask(gateway, n=2)
    assert answer["error"]["code"] == "stream_broken"
    async with asyncio.timeout(20):  # the provider sees the end of a connection a moment later
        while provider.closed < 1:
            await asyncio.sleep(0.005)
    assert provider.closed == 1


async def test_the_likeliest_of_several_completions_is_given(
    gateway: GatewayServer, provider: FakeProvider
) -> None:
    def reply(body: Any) -> Reply:
        likely = {0: -3.0, 1: -0.5, 2: -1.0}
        parts = [
            delta(
                {"content": f"t{choice}"},
                choice,
                logprobs={"content": [{"token": f"t{choice}", "logprob": value, "bytes": None}]},
                finish_reason="stop",
            )
            for choice, value in likely.items()
        ]
        return Reply([*parts, event("[DONE]")])

    provider.chat(reply)
    body = {"model": "other", "prompt": "x", "best_of": 3, "n": 2, "logprobs": 0}
    response = await gateway.post("/v1/completions", body)
    choices = response.json()["choices"]
    assert [choice["text"] for choice in choices] == ["t1", "t2"]
    assert choices[0]["logprobs"] == {
        "tokens": ["t1"],
        "token_logprobs": [-0.5],
        "top_logprobs": [{}],
        "text_offset": [0],
    }
    assert (provider.bodies[0]["n"], provider.bodies[0]["logprobs"]) == (3, True)


async def test_logprobs_come_through_whole_and_streamed(
    gateway: GatewayServer, provider: FakeProvider
) -> None:
    entry = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}
    part = delta({"content": "Hi"}, logprobs={"content": [entry]}, finish_reason="stop")
    provider.chat(lambda body: Reply([part, event("[DONE]")]))
    _, answer = await ask(gateway, logprobs=True, top_logprobs=0)
    assert answer["choices"][0]["logprobs"] == {"content": [entry], "refusal": None}
    response = await gateway.post(
        "/v1/chat/completions", {**HELLO, "stream": True, "logprobs": True}
    )
    assert json.dumps(entry, separators=(",", ":")) in response.text


def request(**fields: Any) -> ModelRequest:
    messages = [
        {"role": "developer", "content": "Be kind"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]},
        {"role": "assistant", "content": "ok", "reasoning": "why", "reasoning_content": "why"},
    ]
    body = {"messages": messages, "max_tokens": 5, "vendor": 1}
    return ModelRequest("chat", "m", body, max_tokens=5, **fields)


def test_each_kind_of_provider_gets_what_it_reads() -> None:
    plain = chat_body(request(), "m", {"cache_salt": "s"}, WireHabits())
    assert (plain["max_tokens"], plain["vendor"], plain["model"]) == (5, 1, "m")
    assert [message["role"] for message in plain["messages"]] == ["system", "user", "assistant"]
    assert plain["messages"][2] == {"role": "assistant", "content": "ok"}
    assert "cache_salt" not in plain and "n" not in plain
    openai = chat_body(request(n=3), "m", {}, habits_of("a", "api.openai.com", keep_reasoning=True))
    assert (openai["max_completion_tokens"], openai["n"]) == (5, 3)
    assert "max_tokens" not in openai and openai["messages"][0]["role"] == "developer"
    assert openai["messages"][2]["reasoning_content"] == "why"
    ours = chat_body(
        request(), "", {"cache_salt": "s"}, habits_of("roost", "127.0.0.1", keep_reasoning=False)
    )
    assert ours["cache_salt"] == "s" and "model" not in ours
    assert ours["messages"][1]["content"] == [
        {"type": "text", "text": "[A picture that this model can't read]"}
    ]


TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}<think>\n"


async def test_llama_server_is_asked_whether_its_template_opens_a_block(
    gateway: GatewayServer, provider: FakeProvider
) -> None:
    parameters = {"reasoning_format": "none"}
    told = {"chat_template": TEMPLATE, "default_generation_settings": {"params": parameters}}
    provider.answers["/props"] = lambda body: json_reply(told)
    fingerprint = "b1"

    def reply(body: Any) -> Reply:
        parts = ["because", "</think>", "Hi"]
        chunks = [
            event({"choices": [{"delta": {"content": part}}], "system_fingerprint": fingerprint})
            for part in parts
        ]
        return Reply([*chunks, event("[DONE]")])

    provider.chat(reply)
    other = await gateway.post("/v1/chat/completions", {**HELLO, "stream": True})
    assert '"content":"because"' in other.text  # what no engine tells can't be known in a stream
    assert "/props" not in [path for path, _ in provider.requests]
    fingerprint = "b6153-ab12cd34"
    for _ in range(2):
        stream = await gateway.post("/v1/chat/completions", {**HELLO, "stream": True})
        assert '"reasoning":"because"' in stream.text
        assert '"content":"because"' not in stream.text
    assert [path for path, _ in provider.requests].count("/props") == 1
    quiet = {"chat_template_kwargs": {"enable_thinking": False}}
    _, answer = await ask(gateway, **quiet)
    assert answer["choices"][0]["message"]["content"] == "Hi"  # the late end tells
