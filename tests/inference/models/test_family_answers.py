"""Models of each family call tools over HTTP; their markers are control tokens, as in life."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.inference.models.conftest import StartEngine, WriteModel

from roost_inference.http.listener import listening
from roost_inference.prompt.families.table import markup_parts
from roost_inference.server import build_server

TEMPLATES = Path(__file__).parents[1] / "prompt" / "templates"
NAMES = (
    "gpt-oss", "mistral-nemo", "mistral-small-3.2", "ministral-3", "llama-3.1",
    "deepseek-r1-tools", "qwen3", "gemma-3", "deepseek-v3.1", "gemma-4", "nemotron-3",
    "qwen3-coder", "qwen3.5",
)  # fmt: skip
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"place": {"enum": ["Lisbon", "Porto"]}},
            "required": ["place"],
        },
    },
}
CHAT = "/v1/chat/completions"


@pytest.fixture(params=NAMES)
async def http(
    request: pytest.FixtureRequest, write_model: WriteModel, start: StartEngine
) -> AsyncIterator[httpx2.AsyncClient]:
    template = (TEMPLATES / f"{request.param}.jinja").read_text("utf-8")
    markers = dict.fromkeys(("<|im_start|>", "<|im_end|>", *markup_parts(template)))
    if request.param == "gpt-oss":  # by these two llama.cpp knows that <|end|> ends no answer
        markers |= dict.fromkeys(("<|return|>", "<|call|>"))
    model = write_model("llama", layers=1, template=template, markers=tuple(markers))
    engine = start(model, context_length=4096)
    async with (
        listening(build_server(engine)) as url,
        httpx2.AsyncClient(base_url=url, timeout=60, trust_env=False) as client,
    ):
        yield client


async def test_a_forced_call_comes_out_in_whole_and_in_a_stream_and_goes_back_in(
    http: httpx2.AsyncClient,
) -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "How is it?"}]
    body = {"messages": messages, "tools": [TOOL], "temperature": 0, "max_tokens": 400}
    forced = {"tool_choice": {"type": "function", "function": {"name": "weather"}}}
    response = await http.post(CHAT, json={**body, **forced})
    assert response.status_code == 200, response.text
    (choice,) = response.json()["choices"]
    message = choice["message"]
    called = message.get("tool_calls", [])
    check(choice["finish_reason"], message["content"] or "", called)

    streamed = await http.post(CHAT, json={**body, **forced, "stream": True})
    lines = [line[6:] for line in streamed.text.split("\n") if line.startswith("data: {")]
    choices = [chunk["choices"][0] for chunk in map(json.loads, lines) if chunk["choices"]]
    parts = [part for one in choices for part in one["delta"].get("tool_calls", ())]
    joined: list[dict[str, Any]] = []
    if parts:
        arguments = "".join(part["function"]["arguments"] for part in parts)
        joined = [{"function": {"name": parts[0]["function"]["name"], "arguments": arguments}}]
    words = "".join(one["delta"].get("content") or "" for one in choices)
    check(choices[-1]["finish_reason"], words, joined)

    if called:
        result = {"role": "tool", "tool_call_id": called[0]["id"], "content": "Sun."}
        messages += [message, result]
        after = await http.post(CHAT, json={**body, "max_tokens": 5, "tool_choice": "none"})
        assert after.status_code == 200, after.text


async def test_values_come_out_with_the_types_that_the_schema_gives_them(
    http: httpx2.AsyncClient,
) -> None:
    properties = {
        "note": {"type": "string", "pattern": "^[0-9]{2}$"},
        "count": {"type": "integer", "minimum": 3, "maximum": 9},
        "urgent": {"type": "boolean"},
        "days": {"type": "array", "items": {"enum": [1, 2]}, "minItems": 1, "maxItems": 2},
        "place": {
            "type": "object",
            "properties": {"city": {"enum": ["Lisbon", "5"]}},
            "required": ["city"],
        },
    }
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    tool = {"type": "function", "function": {"name": "weather", "parameters": schema}}
    body = {"messages": [{"role": "user", "content": "How is it?"}], "tools": [tool], "seed": 3}
    forced = {"tool_choice": "required", "max_tokens": 600, "temperature": 1.0}
    response = await http.post(CHAT, json={**body, **forced})
    assert response.status_code == 200, response.text
    (choice,) = response.json()["choices"]
    if choice["finish_reason"] == "length":  # a thought that went on to the end
        assert choice["message"]["content"].startswith("<think>")
        return
    (call,) = choice["message"]["tool_calls"]
    told = json.loads(call["function"]["arguments"])
    assert told.keys() == properties.keys()
    assert isinstance(told["note"], str) and len(told["note"]) == 2 and told["note"].isdigit()
    assert isinstance(told["urgent"], bool) and told["count"] in range(3, 10)
    assert set(told["days"]) <= {1, 2} and told["place"]["city"] in ("Lisbon", "5")


def check(reason: str, words: str, calls: list[dict[str, Any]]) -> None:
    """One valid call and no markup; or a thought that went on, as this model's may, to the end."""
    if reason == "length":
        assert words.startswith("<think>") and not calls
        return
    assert reason == "tool_calls"
    (call,) = calls
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"])["place"] in ("Lisbon", "Porto")
    assert not any(sign in words for sign in ("[TOOL", "<|", "<\uff5c", "<tool_call>"))
