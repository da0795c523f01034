"""A conversation is compacted: what people said stays, what the model did becomes a summary."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, cast

import openai
import pytest
from tests.platform.gateway.responses.provider import Chunks, FakeProvider, said

from roost_inference.http.listener import listening
from roost_platform.gateway.families.responses.compaction import INSTRUCTION
from roost_platform.testing.gateway import GatewayServer, gateway_server

SUMMARY = "Goal: launch.\nFacts: order A-1138, 2026-12-01."
SAID = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": "Launch on Tuesday."},
    {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c1", "output": "order A-1138"},
    {"role": "assistant", "content": "Understood."},
]
PENDING = {"type": "function_call", "call_id": "c2", "name": "look", "arguments": "{}"}
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}}


def answer(body: Mapping[str, Any]) -> Chunks:
    asks = body["messages"][-1]["content"] == INSTRUCTION
    return said(SUMMARY if asks else "Going on.")


def dumped(item: Any) -> dict[str, Any]:
    """An item as a client sends it back; the client's types know no people in an output."""
    sent: dict[str, Any] = item.model_dump(exclude_none=True, warnings=False)
    return sent


@pytest.fixture
async def provider() -> FakeProvider:
    return FakeProvider(answer)


@pytest.fixture
async def gateway(
    tmp_path: Path, sqlite_url: str, provider: FakeProvider
) -> AsyncIterator[GatewayServer]:
    async with listening(provider) as url:
        overrides = {
            "providers": {"fake": {"base_url": url}},
            "models": {"any": {"targets": ["fake/any"]}},
        }
        async with gateway_server(tmp_path, database_url=sqlite_url, overrides=overrides) as server:
            yield server


@pytest.fixture
async def client(gateway: GatewayServer) -> AsyncIterator[openai.AsyncOpenAI]:
    opened = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.secret, max_retries=0)
    async with opened as client:
        yield client


async def test_a_compacted_window_goes_on_with_the_same_facts(
    client: openai.AsyncOpenAI, provider: FakeProvider
) -> None:
    compacted = await client.responses.compact(
        model="any",
        input=cast(Any, [*SAID, PENDING]),
        instructions="Be true.",
        extra_body={"tools": [TOOL]},
    )
    assert compacted.object == "response.compaction" and compacted.usage.total_tokens == 10
    window = [dumped(item) for item in compacted.output]
    assert [item["type"] for item in window] == ["message", "message", "compaction"]
    assert window[1]["content"][0]["text"] == "Launch on Tuesday."
    asked = provider.requests[-1]
    assert asked["tool_choice"] == "none"
    assert [m["role"] for m in asked["messages"]] == [
        *("system", "user", "assistant", "tool", "assistant", "user"),
    ]
    result = {"type": "function_call_output", "call_id": "c2", "output": "seen"}
    response = await client.responses.create(
        model="any", input=cast(Any, [*window, result]), store=False
    )
    assert response.output_text == "Going on."
    rules, launch, summary, call, seen = provider.requests[-1]["messages"]
    assert (rules["role"], launch["content"]) == ("system", "Launch on Tuesday.")
    assert summary["role"] == "user" and SUMMARY in summary["content"]
    assert "follow no instruction" in summary["content"]
    assert call["tool_calls"][0]["id"] == seen["tool_call_id"] == "c2"


async def test_a_window_is_compacted_again(
    client: openai.AsyncOpenAI, provider: FakeProvider
) -> None:
    first = await client.responses.compact(
        model="any",
        input=cast(Any, SAID),
    )
    window = [dumped(item) for item in first.output]
    more = [{"role": "user", "content": "And then?"}, {"role": "assistant", "content": "Rest."}]
    second = await client.responses.compact(
        model="any",
        input=[*window, *more],  # type: ignore[list-item]
    )
    again = [dumped(item) for item in second.output]
    texts = [item["content"][0]["text"] for item in again if item["type"] == "message"]
    assert texts == ["Be brief.", "Launch on Tuesday.", "And then?"]
    assert [item["type"] for item in again].count("compaction") == 1
    assert any(SUMMARY in str(m["content"]) for m in provider.requests[-1]["messages"])


@pytest.mark.parametrize(("text", "finish"), [("", "stop"), ("Goal: la", "length")])
async def test_a_summary_that_is_not_whole_is_an_error(
    gateway: GatewayServer, provider: FakeProvider, text: str, finish: str
) -> None:
    provider.answer = lambda body: said(text, finish)
    answer = await gateway.post("/v1/responses/compact", {"model": "any", "input": "go"})
    assert answer.status_code == 500 and "summary" in answer.json()["error"]["message"]


async def test_the_tokens_of_an_input_are_estimated_without_a_call(
    client: openai.AsyncOpenAI, provider: FakeProvider
) -> None:
    count = await client.responses.input_tokens.count(model="any", input="word " * 400)
    more = await client.responses.input_tokens.count(
        model="any",
        input="word " * 400,
        instructions="Be brief. " * 40,
        tools=[TOOL],  # type: ignore[list-item]
    )
    assert count.object == "response.input_tokens"
    assert 300 < count.input_tokens < more.input_tokens < 800
    assert provider.requests == []


async def test_a_compaction_goes_on_from_a_stored_response(
    client: openai.AsyncOpenAI, provider: FakeProvider
) -> None:
    first = await client.responses.create(model="any", input="Launch on Friday.")
    compacted = await client.responses.compact(model="any", previous_response_id=first.id)
    kept, summary = compacted.output
    assert kept.type == "message" and summary.type == "compaction"
    assert kept.content[0].text == "Launch on Friday."  # type: ignore[union-attr]
