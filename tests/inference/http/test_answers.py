"""Whole and streamed answers: the same content, in OpenAI's shape."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from roost_inference.errors import EngineFailed
from roost_inference.http import exchange
from roost_inference.prompt.tools import CALL_CLOSE, CALL_OPEN
from roost_inference.request import TokenLogprob
from roost_inference.testing.puppet import PuppetEngine

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "find",
            "parameters": {"properties": {"what": {"type": "string"}}, "required": ["what"]},
        },
    }
]


def call(what: str) -> str:
    arguments = json.dumps({"what": what})
    return f'{CALL_OPEN}\n{{"name": "find", "arguments": {arguments}}}\n{CALL_CLOSE}'


async def stream(http: httpx2.AsyncClient, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The chunks of a stream, which must end with [DONE]."""
    response = await http.post(CHAT, json={**body, "stream": True})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in response.text.split("\n") if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


async def test_a_stream_begins_with_the_role_and_ends_with_the_reason(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    puppet.answer = "Hello 👍"
    chunks = await stream(http, BODY)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0]["role"] == "assistant"
    assert "".join(delta.get("content") or "" for delta in deltas) == "Hello 👍"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None] * (
        len(chunks) - 1
    )
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert "usage" not in chunks[0]


async def test_usage_comes_in_a_last_chunk_of_its_own_if_asked_for(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    puppet.answer = "Hello"
    chunks = await stream(http, {**BODY, "stream_options": {"include_usage": True}})
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 5
    assert chunks[-1]["usage"]["prompt_tokens_details"]["cached_tokens"] == 3
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


async def test_a_whole_answer_carries_every_key_clients_look_for(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    puppet.answer = "Hello"
    answer = (await http.post(CHAT, json=BODY)).json()
    assert answer["object"] == "chat.completion"
    assert answer["id"].startswith("chatcmpl-")
    choice = answer["choices"][0]
    assert choice["message"] == {
        "role": "assistant",
        "content": "Hello",
        "refusal": None,
        "annotations": [],
    }
    assert choice["logprobs"] is None
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.parametrize(
    "text",
    [
        "Just words, 2 < 3 and <tool_box>.",
        call("x"),
        f"Let me look.\n{call('a </tool_call> inside')}\n{call('b')}",
        "Half a tag at the end <tool_c",
        "",
    ],
)
async def test_stream_and_whole_answer_say_the_same(
    http: httpx2.AsyncClient, puppet: PuppetEngine, text: str
) -> None:
    puppet.answer = text
    body = {**BODY, "tools": TOOLS}
    whole = (await http.post(CHAT, json=body)).json()["choices"][0]
    message = whole["message"]
    streamed_text, calls = "", {}
    chunks = await stream(http, body)
    for chunk in chunks:
        delta = chunk["choices"][0]["delta"]
        streamed_text += delta.get("content") or ""
        for part in delta.get("tool_calls", ()):
            if "id" in part:
                assert part["type"] == "function"
                assert part["id"].startswith("call_")
                calls[part["index"]] = [part["function"]["name"], ""]
            calls[part["index"]][1] += part["function"]["arguments"]
    assert streamed_text == (message["content"] or "")
    whole_calls = [
        [c["function"]["name"], c["function"]["arguments"]] for c in message.get("tool_calls", ())
    ]
    assert list(calls.values()) == whole_calls
    assert chunks[-1]["choices"][0]["finish_reason"] == whole["finish_reason"]
    assert whole["finish_reason"] == ("tool_calls" if whole_calls else "stop")


async def test_markup_never_leaks_however_the_text_is_cut(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    text = f"Looking <tool <b>.{call('x')}"
    for size in (1, 2, 5, 11):
        async with http.stream(
            "POST", CHAT, json={**BODY, "tools": TOOLS, "stream": True}
        ) as response:
            await puppet.next_request()
            for start in range(0, len(text), size):
                puppet.say(text[start : start + size])
                await asyncio.sleep(0)
            puppet.finish()
            events = [
                json.loads(line.removeprefix("data: "))
                async for line in response.aiter_lines()
                if line.startswith("data: {")
            ]
        deltas = [event["choices"][0]["delta"] for event in events]
        assert "".join(d.get("content") or "" for d in deltas) == "Looking <tool <b>."
        assert sum("tool_calls" in d for d in deltas) == 2


async def test_a_call_cut_off_by_its_length_is_no_call(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    for text in (call("x")[:-20], "words <tool_"):
        asking = asyncio.create_task(http.post(CHAT, json={**BODY, "tools": TOOLS}))
        await puppet.next_request()
        puppet.say(text)
        puppet.finish("length")
        choice = (await asking).json()["choices"][0]
        assert choice["finish_reason"] == "length"
        assert "tool_calls" not in choice["message"]
        assert "<tool" not in choice["message"]["content"]


async def test_without_tools_the_text_is_left_as_it_is(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    puppet.answer = call("x")
    for body in (BODY, {**BODY, "tools": [{"type": "web_search"}]}):
        choice = (await http.post(CHAT, json=body)).json()["choices"][0]
        assert choice["message"]["content"] == puppet.answer
        assert choice["finish_reason"] == "stop"


async def test_texts_that_are_ready_together_are_one_chunk(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    async with http.stream("POST", CHAT, json={**BODY, "stream": True}) as response:
        await puppet.next_request()
        for word in ("one ", "two ", "three"):
            puppet.say(word)
        puppet.finish()
        lines = [line async for line in response.aiter_lines() if "content" in line]
    assert [json.loads(line[6:])["choices"][0]["delta"]["content"] for line in lines] == [
        "",
        "one two three",
    ]


async def test_a_failure_after_the_first_word_is_an_event_not_a_broken_connection(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    async with http.stream("POST", CHAT, json={**BODY, "stream": True}) as response:
        await puppet.next_request()
        puppet.say("Hel")
        puppet.finish("error", error=EngineFailed("the kernels failed"))
        lines = [line async for line in response.aiter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert json.loads(lines[-2][6:])["error"]["code"] == "engine_failed"


async def test_a_silent_stream_shows_that_it_lives(
    http: httpx2.AsyncClient, puppet: PuppetEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "KEEP_ALIVE_S", 0.02)
    async with http.stream("POST", CHAT, json={**BODY, "stream": True}) as response:
        lines = response.aiter_lines()
        async for line in lines:
            if line.startswith(":"):
                break
        puppet.say("ok")
        puppet.finish()
        rest = [line async for line in lines if line.startswith("data")]
    assert '"content": "ok"' in rest[0]


async def test_logprobs_come_with_the_text_they_belong_to(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    figures = TokenLogprob(
        1,
        "é".encode(),
        -0.5,
        (TokenLogprob(1, "é".encode(), -0.5), TokenLogprob(2, b"e", float("-inf"))),
    )
    for streamed in (False, True):
        body = {**BODY, "logprobs": True, "top_logprobs": 2, "stream": streamed}
        asking = asyncio.create_task(http.post(CHAT, json=body))
        assert (await puppet.next_request()).sampling.top_logprobs == 2
        puppet.say("é", logprobs=(figures,))
        puppet.finish()
        response = await asking
        if streamed:
            events = [json.loads(line[6:]) for line in response.text.split("\n\n")[:-2]]
            found = next(e for e in events if e["choices"][0]["logprobs"])
        else:
            found = response.json()
        (content,) = found["choices"][0]["logprobs"]["content"]
        assert content["bytes"] == [0xC3, 0xA9]
        assert [top["token"] for top in content["top_logprobs"]] == ["é", "e"]


async def test_the_request_reaches_the_engine_as_it_was_asked(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    puppet.answer = "ok"
    body = {
        **BODY,
        "model": "puppet",
        "temperature": 0,
        "top_p": 0.5,
        "top_k": -1,
        "min_p": 0.1,
        "seed": -3,
        "stop": "END",
        "max_tokens": 7,
        "max_completion_tokens": 9,
        "frequency_penalty": -1,
        "logit_bias": {"5": -100},
        "cache_salt": "tenant",
        "tenant": "acme",
        "priority": -2,
        "something_new": {"a": 1},
    }
    await http.post(CHAT, json=body, headers={"x-session-id": "from-header"})
    request = puppet.last
    assert (request.max_tokens, request.stop) == (9, ("END",))
    assert (request.session.session_id, request.session.cache_salt, request.priority) == (
        "from-header",
        "tenant",
        -2,
    )
    assert request.fairness_key == "acme"
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.0, 0.5, 0)
    assert sampling.seed is not None and sampling.seed >= 0
    assert sampling.logit_bias == {5: -100.0}
    await http.post(CHAT, json={**body, "session_id": "own"}, headers={"x-session-id": "header"})
    assert puppet.last.session.session_id == "own"


async def test_without_a_length_the_answer_may_fill_the_context(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    puppet.answer = "ok"
    for wanted in ({}, {"max_tokens": 1_000_000}):
        await http.post(CHAT, json={**BODY, **wanted})
        request = puppet.last
        assert request.max_tokens + len(request.prompt_tokens) == puppet.model.context_length


async def test_models_sessions_health_and_metrics(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    models = (await http.get("/v1/models")).json()
    assert [(m["id"], m["max_model_len"]) for m in models["data"]] == [("puppet", 4096)]
    assert (await http.get("/v1/models/puppet")).json()["id"] == "puppet"
    assert (await http.get("/v1/sessions?limit=5")).json() == {"object": "list", "data": []}
    for limit in ("0", "-1", "many", "99999999999"):
        assert (await http.get(f"/v1/sessions?limit={limit}")).status_code == 400
    health = (await http.get("/health")).json()
    assert health["status"] == "ok"
    assert (health["cells_used"], health["cells_total"]) == (25, 100)
    assert health["ttft_ms"] == {"p50": 20.0, "p95": 30.0, "p99": 30.0}
    puppet.answer = "ok"
    await http.post(CHAT, json=BODY)
    text = (await http.get("/metrics")).text
    assert 'vllm:prompt_tokens_total{model_name="puppet"} 40.0' in text
    assert 'vllm:kv_cache_usage_perc{model_name="puppet"} 0.25' in text
    assert 'roost_engine_tokens_total{kind="prompt",model_name="puppet"} 30.0' in text
    assert 'vllm:time_to_first_token_seconds_count{model_name="puppet"} 1.0' in text
    assert 'vllm:request_success_total{finished_reason="abort",model_name="puppet"} 1.0' in text
    assert "_created" not in text


COUNTED_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look",
            "description": "Look at something.",
            "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
        },
    }
]
COUNTED_MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Look at the sky, please."},
]


async def test_a_prompt_has_the_tokens_that_its_answer_counts(real_url: str) -> None:
    cases: list[dict[str, Any]] = [
        {"messages": COUNTED_MESSAGES},
        {"messages": COUNTED_MESSAGES, "tools": COUNTED_TOOLS},
    ]
    for body in cases:
        async with httpx2.AsyncClient(base_url=real_url, timeout=30, trust_env=False) as http:
            counted = (await http.post("/tokenize", json=body)).json()
            answer = await http.post("/v1/chat/completions", json={**body, "max_tokens": 1})
        assert counted["count"] == answer.json()["usage"]["prompt_tokens"]
        assert len(counted["tokens"]) == counted["count"]
        assert counted["max_model_len"] == 4096


async def test_a_text_is_tokenized_as_it_is(http: httpx2.AsyncClient) -> None:
    one = (await http.post("/tokenize", json={"prompt": "Hello there"})).json()
    two = (await http.post("/tokenize", json={"prompt": "Hello there, my friend"})).json()
    assert 0 < one["count"] < two["count"]


async def test_what_is_neither_is_refused(http: httpx2.AsyncClient) -> None:
    bodies: list[Any] = [{}, {"prompt": 5}, {"messages": []}, []]
    for body in bodies:
        assert (await http.post("/tokenize", json=body)).status_code == 400


async def test_an_answer_names_the_stop_string_that_ended_it(real_url: str) -> None:
    body = {"messages": COUNTED_MESSAGES, "max_tokens": 64, "temperature": 0, "stop": ["e", "a"]}
    async with httpx2.AsyncClient(base_url=real_url, timeout=60, trust_env=False) as http:
        (whole,) = (await http.post(CHAT, json=body)).json()["choices"]
        streamed = (await stream(http, body))[-1]["choices"][0]
    assert whole["finish_reason"] == streamed["finish_reason"] == "stop"
    assert whole["stop_reason"] == streamed["stop_reason"]
    assert whole["stop_reason"] in ("e", "a")
