"""What a client sees of an answer with options: choices, token ids, running usage, endings."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest

from roost_inference.engine import Engine
from roost_inference.errors import QueueFull
from roost_inference.http.listener import listening
from roost_inference.request import Listener, Request
from roost_inference.server import build_server
from roost_inference.testing.harness import toy_engine
from roost_inference.testing.puppet import PuppetEngine
from roost_inference.testing.toy import ToyBackend

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "roll the dice"}],
    "max_tokens": 40,
    "temperature": 0.9,
    "seed": 5,
}
TOOL = {
    "type": "function",
    "function": {
        "name": "find",
        "parameters": {"properties": {"n": {"type": "integer", "maximum": 99}}, "required": ["n"]},
    },
}


@pytest.fixture
def toy() -> Iterator[Engine]:
    engine = toy_engine(ToyBackend(cells=4096, sequences=32), max_running=16)
    engine.start()
    yield engine
    engine.close()


@pytest.fixture
async def toy_http(toy: Engine) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        listening(build_server(toy)) as base_url,
        httpx2.AsyncClient(base_url=base_url, timeout=30, trust_env=False) as client,
    ):
        yield client


async def whole(http: httpx2.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await http.post(CHAT, json={**BODY, **fields})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def chunks(http: httpx2.AsyncClient, **fields: Any) -> list[dict[str, Any]]:
    response = await http.post(CHAT, json={**BODY, **fields, "stream": True})
    assert response.status_code == 200, response.text
    lines = [line for line in response.text.split("\n") if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line[6:]) for line in lines[:-1]]


def assembled(stream: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Text, calls, tokens, logprobs and end of each choice of a stream."""
    choices: dict[int, dict[str, Any]] = defaultdict(
        lambda: {"text": "", "calls": [], "tokens": [], "logprobs": [], "end": None, "why": None}
    )
    for chunk in stream:
        for choice in chunk["choices"]:
            found, delta = choices[choice["index"]], choice["delta"]
            assert found["end"] is None, "a chunk after the end"
            found["text"] += delta.get("content") or ""
            for call in delta.get("tool_calls", ()):
                if "id" in call:
                    assert call["index"] == len(found["calls"])
                    found["calls"].append([call["function"]["name"], ""])
                found["calls"][call["index"]][1] += call["function"]["arguments"]
            found["tokens"] += choice.get("token_ids", [])
            found["logprobs"] += (choice["logprobs"] or {}).get("content", [])
            found["end"] = choice["finish_reason"]
            found["why"] = choice.get("stop_reason")
    return choices


def seen(answer: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The same of a whole answer."""
    return {
        choice["index"]: {
            "text": choice["message"]["content"] or "",
            "calls": [
                [call["function"]["name"], call["function"]["arguments"]]
                for call in choice["message"].get("tool_calls", ())
            ],
            "tokens": choice.get("token_ids", []),
            "logprobs": (choice["logprobs"] or {}).get("content", []),
            "end": choice["finish_reason"],
            "why": choice.get("stop_reason"),
        }
        for choice in answer["choices"]
    }


LONG = {"max_tokens": 300, "ignore_eos": True}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "hot": {"temperature": 2.0, "max_tokens": 90},
    "greedy": {"temperature": 0},
    "stops": {"temperature": 1.5, "stop": ["e", "th", "t", "\ufffd"], **LONG},
    "included": {"stop": ["e", "a", "o "], "include_stop_str_in_output": True, **LONG},
    "late": {"stop": ["e", "a", " "], "min_tokens": 20, **LONG},
    "stop tokens": {"stop_token_ids": [ord("e"), ord("a"), ord(" ")], **LONG},
    "tools": {"tools": [TOOL], "temperature": 1.5, "max_tokens": 90},
    "forced": {"tools": [TOOL], "tool_choice": "required", "max_tokens": 200},
    "several": {
        **{"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": True},
        "max_tokens": 700,
    },
    "cut call": {"tools": [TOOL], "tool_choice": "required", "max_tokens": 20},
    "regex": {"structured_outputs": {"regex": "[a-z]{3,9}é+"}, "max_tokens": 60},
}


@pytest.mark.parametrize("choices", [1, 3])
@pytest.mark.parametrize("name", OPTIONS)
async def test_a_streams_joined_text_is_the_whole_answers_for_the_same_seed(
    toy_http: httpx2.AsyncClient, name: str, choices: int
) -> None:
    fields = {
        **OPTIONS[name],
        **{"n": choices, "logprobs": True, "top_logprobs": 2, "return_token_ids": True},
    }
    answer = await whole(toy_http, **fields)
    expected, streamed = seen(answer), assembled(await chunks(toy_http, **fields))
    assert streamed == expected and sorted(expected) == list(range(choices))
    told = sum(len(choice["tokens"]) for choice in expected.values())
    assert told == answer["usage"]["completion_tokens"]


async def test_finish_reasons_are_right_in_every_combination(toy_http: httpx2.AsyncClient) -> None:
    for name, ends in {
        "plain": {"length", "stop"},
        "stops": {"stop"},
        "included": {"stop"},
        "late": {"stop"},
        "stop tokens": {"stop"},
        "forced": {"tool_calls"},
        "cut call": {"length"},
        "regex": {"stop"},
    }.items():
        found = seen(await whole(toy_http, **OPTIONS[name], n=4))
        assert {choice["end"] for choice in found.values()} <= ends, name
    for choice in seen(await whole(toy_http, **OPTIONS["forced"], n=4)).values():
        assert len(choice["calls"]) == 1 and choice["text"] == ""
        assert json.loads(choice["calls"][0][1])["n"] <= 99
    for choice in seen(await whole(toy_http, **OPTIONS["stop tokens"], n=4)).values():
        assert chr(choice["why"]) in "ea " and not set(choice["text"]) & set("ea ")
    for choice in seen(await whole(toy_http, **OPTIONS["included"], n=4)).values():
        assert choice["text"].endswith(choice["why"])


async def test_usage_counts_the_prompt_once_and_every_choice(
    toy_http: httpx2.AsyncClient,
) -> None:
    one, three = await whole(toy_http, ignore_eos=True), await whole(toy_http, n=3, ignore_eos=True)
    assert three["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"]
    assert three["usage"]["completion_tokens"] == 3 * 40
    last = (await chunks(toy_http, n=3, ignore_eos=True, stream_options={"include_usage": True}))[
        -1
    ]
    assert last["choices"] == []
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert last["usage"][name] == three["usage"][name]


async def test_a_choice_is_the_answer_that_its_seed_gives_alone(
    toy_http: httpx2.AsyncClient,
) -> None:
    together = seen(await whole(toy_http, n=4))
    for index, choice in together.items():
        own = seen(await whole(toy_http, seed=5 + index))[0]
        assert own == choice
    assert len({choice["text"] for choice in together.values()}) == 4


async def test_running_usage_counts_each_chunks_tokens(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = {**BODY, "stream": True, "stream_options": options}
    written = []
    async with http.stream("POST", CHAT, json=body) as response:
        request = await puppet.next_request()
        lines = response.aiter_lines()
        for count in (1, 2, 3, 0):
            async for line in lines:
                if line.startswith("data: "):
                    usage = json.loads(line[6:])["usage"]
                    assert usage["prompt_tokens"] == len(request.prompt_tokens)
                    written.append(usage["completion_tokens"])
                    break
            if count:
                puppet.say("word ", tokens=tuple(range(count)))
        puppet.finish()
        async for _ in lines:
            pass
    assert written == [0, 1, 3, 6]


@pytest.mark.parametrize("choices", [1, 2])
async def test_running_usage_ends_with_the_usage_of_the_answer(
    toy_http: httpx2.AsyncClient, choices: int
) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    stream = await chunks(toy_http, n=choices, stream_options=options, ignore_eos=True)
    written = [chunk["usage"]["completion_tokens"] for chunk in stream]
    assert written[0] == 0 and written[-1] == written[-2] == choices * 40
    assert written == sorted(written)
    assert {chunk["usage"]["prompt_tokens"] for chunk in stream} == {
        stream[-1]["usage"]["prompt_tokens"]
    }
    alone = await chunks(toy_http, stream_options={"continuous_usage_stats": True})
    assert all("usage" not in chunk for chunk in alone), "as with vLLM only with include_usage"


async def test_token_ids_are_those_of_prompt_and_answer(toy_http: httpx2.AsyncClient) -> None:
    answer = await whole(toy_http, return_token_ids=True, temperature=0)
    prompt = (await toy_http.post("/tokenize", json={"messages": BODY["messages"]})).json()
    assert answer["prompt_token_ids"] == prompt["tokens"]
    choice = answer["choices"][0]
    text = bytes(token for token in choice["token_ids"] if token < 256).decode()
    assert text == choice["message"]["content"]
    first = (await chunks(toy_http, return_token_ids=True))[0]
    assert first["prompt_token_ids"] == prompt["tokens"]
    plain = await whole(toy_http)
    assert "prompt_token_ids" not in plain and "token_ids" not in plain["choices"][0]


async def test_logprobs_join_to_the_text_and_may_name_tokens_by_number(
    toy_http: httpx2.AsyncClient,
) -> None:
    form = {"regex": "(é|🙂|日|a){8}"}
    fields = {"structured_outputs": form, "logprobs": True, "top_logprobs": 1}
    for ids in (False, True):
        (choice,) = seen(await whole(toy_http, **fields, return_tokens_as_token_ids=ids)).values()
        joined = b"".join(bytes(entry["bytes"]) for entry in choice["logprobs"])
        assert joined.decode() == choice["text"] and len(choice["text"]) == 8
        named = {entry["token"].startswith("token_id:") for entry in choice["logprobs"]}
        assert named == {ids}


async def test_a_client_that_leaves_frees_all_choices(
    toy: Engine, toy_http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toy._backend, "on_decode", lambda batch: time.sleep(0.01))
    for stream in (True, False):
        body = {**BODY, "n": 4, "stream": stream, "ignore_eos": True, "max_tokens": 900}
        asking = asyncio.create_task(toy_http.post(CHAT, json=body))
        async with asyncio.timeout(10):
            while len(toy._scheduler.running) < 4:
                await asyncio.sleep(0.005)
        asking.cancel()
        async with asyncio.timeout(10):
            while toy.has_work or toy._scheduler.running:
                await asyncio.sleep(0.005)
    toy.check()


async def test_choices_for_which_the_queue_has_no_room_are_refused_together(
    http: httpx2.AsyncClient, puppet: PuppetEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = puppet.submit

    def full_after_two(request: Request, listener: Listener) -> None:
        if len(puppet.requests) == 2:
            raise QueueFull("two requests are waiting already")
        submit(request, listener)

    monkeypatch.setattr(puppet, "submit", full_after_two)
    response = await http.post(CHAT, json={**BODY, "n": 4})
    assert response.status_code == 429
    assert puppet.aborted == list(puppet.requests), "none of them goes on"


async def test_a_choice_that_fails_fails_the_answer_and_stops_the_others(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    asking = asyncio.create_task(http.post(CHAT, json={**BODY, "n": 3}))
    async with asyncio.timeout(5):
        while len(puppet.requests) < 3:
            await asyncio.sleep(0.002)
    first, second, third = puppet.requests
    puppet.say("half", id=first)
    puppet.finish("error", id=second)
    response = await asking
    assert response.status_code == 500
    await puppet.idle()
    assert set(puppet.aborted) == {first, third}


async def test_the_hit_rate_with_choices_stays_below_its_ceiling(
    toy_http: httpx2.AsyncClient,
) -> None:
    await whole(toy_http, n=4)
    health = (await toy_http.get("/health")).json()
    cached, ceiling = health["cached_tokens_total"], health["ceiling"]
    assert 0 < cached <= ceiling["seen_tokens"]
    assert ceiling["prompt_tokens"] == health["prompt_tokens_total"]


async def test_all_choices_of_an_answer_are_remembered_for_the_next_turn(
    toy: Engine, toy_http: httpx2.AsyncClient
) -> None:
    """Whichever of them the client goes on with, its tokens are not computed again."""
    fields = {"temperature": 0.5, "n": 3}
    for index in range(3):
        session = f"session {index}"
        choice = seen(await whole(toy_http, **fields, session_id=session))[index]
        answer = {"role": "assistant", "content": choice["text"]}
        messages = [*BODY["messages"], answer, {"role": "user", "content": "and now?"}]
        then = await whole(toy_http, session_id=session, messages=messages, max_tokens=4)
        cached = then["usage"]["prompt_tokens_details"]["cached_tokens"]
        tokens = then["usage"]["prompt_tokens"]
        assert tokens - cached < 80, "only what follows the answer is computed"
        assert "divergence" not in then["metrics"]
