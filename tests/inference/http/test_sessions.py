"""Sessions over the wire: exact tokens, reports of divergence, pins, bounds of paging."""

import asyncio
from typing import Any

import httpx2
import pytest

from roost_inference.engine import Engine
from roost_inference.kv.tiers.placement import TierPlacement
from roost_inference.prompt import exact_tokens
from roost_inference.prompt.exact_tokens import GeneratedAnswer, SessionMemory
from roost_inference.request import EngineSession, Request
from roost_inference.testing.puppet import PuppetEngine

CHAT = "/v1/chat/completions"
ODD = (200, 201, 202)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **fields}


async def turn(
    http: httpx2.AsyncClient,
    puppet: PuppetEngine,
    messages: list[dict[str, Any]],
    text: str,
    tokens: tuple[int, ...] | None = None,
    **fields: Any,
) -> tuple[Request, dict[str, Any]]:
    """One request answered with `text`; what the engine was given, and the reply's body."""
    body = {"messages": messages, "session_id": "s", **fields}
    reply = asyncio.ensure_future(http.post(CHAT, json=body))
    request = await puppet.next_request()
    puppet.say(text, tokens=tokens)
    puppet.finish()
    return request, (await reply).json()


async def test_what_the_engine_wrote_keeps_its_tokens(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    await turn(http, puppet, [user("hi")], "Hello", ODD)
    again = [user("hi"), said("Hello"), user("more")]
    request, _ = await turn(http, puppet, again, "yes", ODD)
    expected = [
        *puppet.tokenize("<|user|>hi<|end|><|assistant|>"),
        *ODD,
        *puppet.tokenize("<|end|><|user|>more<|end|><|assistant|>"),
    ]
    assert list(request.prompt_tokens) == expected


async def test_the_same_text_written_twice_keeps_the_tokens_of_its_place(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    other = (210, 211)

    def own(request: Request) -> list[int]:
        return [token for token in request.prompt_tokens if token in (*ODD, *other)]

    one = [user("hi")]
    two = [*one, said("Hello"), user("again")]
    three = [*two, said("Hello"), user("more")]
    await turn(http, puppet, one, "Hello", ODD)
    await turn(http, puppet, two, "\nHello", other)
    request, body = await turn(http, puppet, three, "yes")
    assert own(request) == [*ODD, *other]
    assert "divergence" not in body["metrics"]
    # a history cut short finds the newest
    request, _ = await turn(http, puppet, [said("Hello"), user("more")], "yes")
    assert own(request) == [*other]


@pytest.mark.parametrize(
    "fields", [{"session_id": "other"}, {"cache_salt": "other"}, {"messages": "edited"}]
)
async def test_tokens_are_spliced_only_where_session_salt_and_text_are_the_same(
    http: httpx2.AsyncClient, puppet: PuppetEngine, fields: dict[str, Any]
) -> None:
    await turn(http, puppet, [user("hi")], "Hello", ODD)
    text = "Hello!" if fields.pop("messages", None) else "Hello"
    request, _ = await turn(http, puppet, [user("hi"), said(text), user("?")], "x", **fields)
    assert 200 not in request.prompt_tokens


async def test_tool_calls_keep_their_tokens_and_their_form(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    tool = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
    written = '<tool_call>\n{"name": "clock", "arguments": {"zone":"Lisbon"}}\n</tool_call>'
    _, body = await turn(http, puppet, [user("time?")], written, tools=[tool])
    message = body["choices"][0]["message"]
    assert message["tool_calls"][0]["function"]["name"] == "clock"
    answered = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "noon"}
    request, body = await turn(
        http, puppet, [user("time?"), message, answered], "Noon.", tools=[tool]
    )
    assert written in puppet.text_of(request.prompt_tokens)
    assert "divergence" not in body["metrics"]


async def test_an_edited_system_prompt_is_named_with_what_it_costs(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    def system(time: str) -> dict[str, Any]:
        return {"role": "system", "content": f"You are kind. It is {time}."}

    first, body = await turn(http, puppet, [system("noon"), user("hi")], "Hello")
    assert "divergence" not in body["metrics"]
    request, body = await turn(
        http, puppet, [system("one"), user("hi"), said("Hello"), user("?")], "x"
    )
    report = body["metrics"]["divergence"]
    assert report["in"] == "messages[0] (system)"
    assert puppet.text_of(request.prompt_tokens[: report["at_token"]]).endswith("It is ")
    assert report["at_token"] + report["lost_tokens"] == len(first.prompt_tokens) + len("Hello")
    text = (await http.get("/metrics")).text
    assert 'roost_kv_divergences_total{model_name="puppet"} 1.0' in text


async def test_a_rewritten_history_is_named_by_its_message(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    await turn(http, puppet, [user("one"), said("two"), user("three")], "four")
    _, body = await turn(http, puppet, [user("one"), said("TWO"), user("three")], "four")
    assert body["metrics"]["divergence"]["in"] == "messages[1] (assistant)"


async def test_bounds_of_paging_reach_the_engine_in_both_spellings(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    params = {"max_offload_tokens": 10, "max_load_tokens": 0, "kv_load_tiers": ["ram", "disk"]}
    request, _ = await turn(http, puppet, [user("a")], "b", kv_transfer_params=params)
    assert (request.kv.max_offload_tokens, request.kv.max_load_tokens) == (10, 0)
    assert request.kv.load_tiers == frozenset({"ram", "disk"})
    params = {"kv_load_tiers": [{"medium": "STORAGE", "locality": "REMOTE"}, {"medium": "CPU"}]}
    request, _ = await turn(http, puppet, [user("a")], "b", kv_transfer_params=params)
    assert request.kv.load_tiers == frozenset({"ram", "object"})
    request, _ = await turn(
        http, puppet, [user("a")], "b", kv_transfer_params={"kv_load_tiers": []}
    )
    assert request.kv.load_tiers == frozenset()
    puppet.tiers = (*puppet.tiers, TierPlacement("peer", "STORAGE", "REMOTE"))
    params = {"kv_load_tiers": ["peer"]}
    request, _ = await turn(http, puppet, [user("a")], "b", kv_transfer_params=params)
    assert request.kv.load_tiers == frozenset({"peer"})
    body = {"messages": [user("a")], "kv_transfer_params": {"kv_load_tiers": ["moon"]}}
    refused = await http.post(CHAT, json=body)
    assert refused.status_code == 400 and "kv_load_tiers" in refused.json()["error"]["param"]


async def test_orders_about_sessions_are_checked(http: httpx2.AsyncClient) -> None:
    assert (await http.post("/v1/sessions/s/dance")).status_code == 404
    for body in ('{"ttl_s": -1}', "[]", "{", '{"ttl_s": 1e12}'):
        refused = await http.post("/v1/sessions/s/pin", content=body)
        assert refused.status_code == 400, body
    assert (await http.post("/v1/sessions/s/prefetch")).json() == {"id": "s", "known": False}


async def test_an_order_names_a_session_whose_id_has_slashes(http: httpx2.AsyncClient) -> None:
    for path, id in (("a%2Fb", "a/b"), ("a/b", "a/b"), ("x%2Fpin", "x/pin")):
        assert (await http.post(f"/v1/sessions/{path}/pin")).json()["id"] == id
        assert (await http.delete(f"/v1/sessions/{path}")).json()["id"] == id


async def test_an_order_names_the_fields_that_it_does_not_heed(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/v1/sessions/s/pin", json={"ttl_s": 5, "ttl": 9, "salt": None})
    assert [warning["field"] for warning in answer.json()["warnings"]] == ["ttl"]


def test_the_memory_of_answers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_tokens, "ANSWERS_KEPT", 10)
    monkeypatch.setattr(exact_tokens, "ANSWER_TOKENS_KEPT", 50)
    monkeypatch.setattr(exact_tokens, "HISTORIES_KEPT", 4)
    memory = SessionMemory()
    for number in range(40):
        memory.remember(
            EngineSession("s"),
            number,
            f"text {number % 30}",
            [],
            GeneratedAnswer("t", (1,) * (number % 9 + 1)),
        )
        memory.end_turn(EngineSession(str(number)), [1, 2], [3])
    assert len(memory._answers) <= 10 and len(memory._histories) == 4
    assert len(memory._newest) <= len(memory._answers)
    assert memory._answer_tokens == sum(len(a.tokens) for a in memory._answers.values()) <= 50


async def test_a_real_session_never_parts_from_itself(real_url: str, real_engine: Engine) -> None:
    async with httpx2.AsyncClient(base_url=real_url, timeout=60, trust_env=False) as http:
        messages = [user("Write three odd words: xylophonist, Zürich, 🙂.")]
        left = 0
        for number in range(4):
            body = {"messages": messages, "session_id": "real", "max_tokens": 24, "seed": number}
            answer = (await http.post(CHAT, json=body)).json()
            assert "divergence" not in answer["metrics"]
            usage = answer["usage"]
            cached = usage["prompt_tokens_details"]["cached_tokens"]
            assert cached >= left
            left = usage["prompt_tokens"] + usage["completion_tokens"] - 2
            content = answer["choices"][0]["message"]["content"]
            messages = [*messages, said(content), user("Go on.")]
        listed = (await http.get("/v1/sessions")).json()["data"]
        (own,) = [session for session in listed if session["id"] == "real"]
        assert own["cells"] > 0 and own["divergence"] is None
        pinned = await http.post("/v1/sessions/real/pin", json={"reason": "tool", "ttl_s": 30})
        assert pinned.json()["pinned"] == "tool"
        refused = await http.post("/v1/sessions/real/pin", json={"reason": "boredom"})
        assert refused.status_code == 400 and refused.json()["error"]["param"] == "reason"
        assert (await http.post("/v1/sessions/real/offload")).json()["cells_freed"] > 0
        assert (await http.post("/v1/sessions/real/prefetch")).json()["blocks"] > 0
        answer = (await http.post(CHAT, json={**body, "messages": messages})).json()
        assert answer["metrics"]["kv"]["decision"] == "load"
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] >= left - 16
        assert (await http.delete("/v1/sessions/real")).json()["closed"]
        text = (await http.get("/metrics")).text
        assert 'roost_kv_bytes{model_name="smollm2-135m-instruct",tier="ram"}' in text
        assert "roost_kv_restore_seconds_bucket" in text and "roost_kv_lookups_total" in text
        health = (await http.get("/health")).json()
        assert health["kv"]["ram"]["blocks"] > 0 < health["kv"]["ram"]["quota"]
        assert health["paging"]["restores"]["ram"]["blocks"] > 0
        assert 0 < health["ceiling"]["seen_tokens"] < health["ceiling"]["prompt_tokens"]
