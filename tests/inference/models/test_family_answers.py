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
    "deepseek-r1-tools", "qwen3", "gemma-3",
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
    # Thoughts of a model that says nothing sensible have no end: a bias ends them.
    body = {"messages": messages, "tools": [TOOL], "temperature": 0, "max_tokens": 400, "seed": 1}
    forced = {"tool_choice": {"type": "function", "function": {"name": "weather"}}}
    response = await http.post(CHAT, json={**body, **forced})
    assert response.status_code == 200, response.text
    answer = response.json()
    choice = answer["choices"][0]
    if choice["finish_reason"] == "length":  # the thought went on for all 400 tokens
        assert choice["message"]["content"].startswith("<think>")
        return
    assert choice["finish_reason"] == "tool_calls", choice
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"])["place"] in ("Lisbon", "Porto")
    assert not any(sign in (choice["message"]["content"] or "") for sign in ("[TOOL", "<|", "<｜"))  # noqa: RUF001
    streamed = await http.post(CHAT, json={**body, **forced, "stream": True})
    chunks = [
        json.loads(line[6:]) for line in streamed.text.split("\n") if line.startswith("data: {")
    ]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    parts = [part for delta in deltas for part in delta.get("tool_calls", ())]
    arguments = "".join(part["function"]["arguments"] for part in parts)
    assert json.loads(arguments) == json.loads(call["function"]["arguments"])
    messages += [choice["message"], {"role": "tool", "tool_call_id": call["id"], "content": "Sun."}]
    after = await http.post(CHAT, json={**body, "max_tokens": 5, "tool_choice": "none"})
    assert after.status_code == 200, after.text
