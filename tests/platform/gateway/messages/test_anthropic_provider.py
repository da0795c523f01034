"""A provider of Anthropic's wire serves clients of every family; its errors keep their kind."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic

from roost_platform.testing.providers.anthropic import (
    KEY,
    MODEL,
    Refused,
    Reply,
    ScriptedAnthropic,
)
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server

HELLO = [{"role": "user", "content": "say Hello"}]
CHAT = {"model": "claude", "messages": HELLO}
MESSAGE = {"model": "claude", "max_tokens": 64, "messages": HELLO}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "the sky"}}
THOUGHT = {"type": "thinking", "thinking": "I should look.", "signature": "c2lnbmVk"}
SECRET = {"type": "redacted_thinking", "data": "Y2lwaGVy"}
LOOK = {"name": "look", "input_schema": {"type": "object", "properties": {}}}


@pytest.fixture
async def claude() -> AsyncIterator[ScriptedAnthropic]:
    async with ScriptedAnthropic() as server:
        yield server


@pytest.fixture
async def gateway(tmp_path: Path, claude: ScriptedAnthropic) -> AsyncIterator[GatewayServer]:
    settings: dict[str, Any] = {
        "gateway": {"retries": 0},
        "providers": {"far": {"base_url": claude.base_url, "api_key": KEY, "wire": "anthropic"}},
        "models": {
            "claude": {"targets": [f"far/{MODEL}"]},
            "both": {
                "targets": [
                    {"provider": "far", "model": MODEL},
                    {"provider": "roost", "model": "scripted", "order": 1},
                ]
            },
        },
    }
    async with gateway_server(tmp_path, overrides=settings) as server:
        yield server


async def chat(gateway: GatewayServer, **fields: Any) -> dict[str, Any]:
    response = await gateway.post("/v1/chat/completions", {**CHAT, **fields})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_a_chat_client_gets_text_calls_reasoning_and_usage(
    gateway: GatewayServer, claude: ScriptedAnthropic
) -> None:
    usage = {"cache_read_input_tokens": 100, "cache_creation_input_tokens": 20}
    text = {"type": "text", "text": "I look."}
    claude.replies.append(Reply((THOUGHT, text, CALL), "tool_use", usage=usage))
    answer = await chat(gateway)
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "I look."
    assert choice["message"]["reasoning_content"] == "I should look."
    (call,) = choice["message"]["tool_calls"]
    assert (call["id"], json.loads(call["function"]["arguments"])) == ("toolu_1", CALL["input"])
    assert answer["usage"]["prompt_tokens"] == 131
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 100
    assert answer["usage"]["completion_tokens"] == 9


async def test_a_stop_of_blanks_which_anthropic_can_t_obey_is_refused(
    gateway: GatewayServer, claude: ScriptedAnthropic
) -> None:
    for stop in ("\n", ["END", "\n"]):
        response = await gateway.post("/v1/chat/completions", {**CHAT, "stop": stop})
        assert (response.status_code, response.json()["error"]["param"]) == (400, "stop")
    assert claude.requests == []


async def test_a_chat_request_keeps_anthropic_s_rules(
    gateway: GatewayServer, claude: ScriptedAnthropic
) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
    call = {"id": "call.1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    unanswered = {**call, "id": "call.2"}
    await chat(
        gateway,
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "assistant", "content": "Welcome."},
            {"role": "user", "content": "a"},
            {"role": "user", "content": [{"type": "text", "text": "b"}]},
            {"role": "assistant", "content": "", "tool_calls": [call, unanswered]},
            {"role": "tool", "tool_call_id": "call.1", "content": "stars"},
            {"role": "tool", "tool_call_id": "nobody", "content": "lost"},
            {"role": "system", "content": "The person has stopped you."},
            {"role": "user", "content": "go on"},
        ],
        tools=[tool],
        tool_choice="required",
        parallel_tool_calls=False,
        stop=["END"],
        temperature=1.7,
        top_p=0.9,
        seed=3,
        frequency_penalty=0.5,
        user="someone",
        reasoning_effort="low",
    )
    (body,) = claude.requests
    assert body["system"] == [{"type": "text", "text": "Be brief."}]
    assert [message["role"] for message in body["messages"]] == [
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    results = body["messages"][-1]["content"]
    assert [block["type"] for block in results] == ["tool_result", "tool_result", *["text"] * 3]
    assert results[1]["is_error"] is True
    assert body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    assert body["max_tokens"] == 4096 and "thinking" not in body
    assert body["stop_sequences"] == ["END"]
    assert body["temperature"] == 1 and "top_p" not in body
    assert body["metadata"] == {"user_id": "someone"}


async def test_an_effort_becomes_a_budget_that_fits(
    gateway: GatewayServer, claude: ScriptedAnthropic
) -> None:
    for most, budget in ((None, 8192), (8000, 4000), (1500, 1024), (1000, None)):
        bound = {"max_completion_tokens": most} if most else {}
        await chat(gateway, reasoning_effort="medium", temperature=0.2, **bound)
        thinking = claude.requests[-1].get("thinking")
        assert (thinking and thinking["budget_tokens"]) == budget


async def test_pictures_files_and_schemas_are_translated(
    gateway: GatewayServer, claude: ScriptedAnthropic
) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}}
    await chat(
        gateway,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                    {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
                    {
                        "type": "file",
                        "file": {
                            "filename": "a.pdf",
                            "file_data": "data:application/pdf;base64,BBBB",
                        },
                    },
                ],
            }
        ],
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
    )
    (body,) = claude.requests
    first, second, third = body["messages"][0]["content"]
    assert first["source"] == {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    assert second["source"] == {"type": "url", "url": "https://example.org/a.png"}
    assert (third["type"], third["title"]) == ("document", "a.pdf")
    form = body["output_config"]["format"]["schema"]
    assert form["additionalProperties"] is False
    assert form["properties"]["n"] == {"type": "integer", "description": '{"minimum": 3}'}


async def test_signatures_come_back_from_a_chat_client(
    gateway: GatewayServer, claude: ScriptedAnthropic
) -> None:
    claude.replies.append(Reply((THOUGHT, SECRET, CALL), "tool_use"))
    first = (await chat(gateway, reasoning_effort="low"))["choices"][0]["message"]
    await chat(
        gateway,
        reasoning_effort="low",
        messages=[
            *HELLO,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": first["tool_calls"],
                "reasoning_details": first["reasoning_details"],
            },
            {"role": "tool", "tool_call_id": "toolu_1", "content": "stars"},
        ],
    )
    body = claude.requests[-1]
    assert body["messages"][1]["content"] == [THOUGHT, SECRET, CALL]
    assert body["thinking"]["type"] == "enabled"


async def test_thinking_is_off_in_a_round_of_tools_without_its_reasoning(
    gateway: GatewayServer, claude: ScriptedAnthropic
) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    result = {"role": "tool", "tool_call_id": "c1", "content": "stars"}
    messages = [*HELLO, {"role": "assistant", "tool_calls": [call]}, result]
    await chat(gateway, messages=messages, reasoning_effort="high")
    assert "thinking" not in claude.requests[-1]
    await chat(gateway, messages=[*messages, *HELLO], reasoning_effort="high")
    assert claude.requests[-1]["thinking"]["budget_tokens"] == 16_384


async def test_a_client_of_the_same_wire_loses_nothing(
    gateway: GatewayServer, claude: ScriptedAnthropic
) -> None:
    citation = {"type": "web_search_result_location", "url": "https://example.org"}
    search = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"q": "x"}}
    found = {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []}
    text = {"type": "text", "text": "It says so.", "citations": [citation]}
    blocks = (THOUGHT, SECRET, search, found, text, CALL)
    body = {
        **MESSAGE,
        "system": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            *HELLO,
            {"role": "assistant", "content": [{**THOUGHT, "signature": ""}, THOUGHT, CALL]},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "stars"}],
            },
        ],
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": []},
        "service_tier": "auto",
        "tools": [LOOK, {"type": "web_search_20250305", "name": "web_search"}],
    }
    headers = {"x-api-key": gateway.secret, "anthropic-beta": "a-2026,b-2026"}
    for is_streamed in (False, True):
        claude.replies.append(Reply(blocks, "pause_turn", usage={"service_tier": "standard"}))
        async with AsyncAnthropic(base_url=gateway.url, api_key=gateway.secret) as client:
            arguments: Any = {**body, "extra_headers": headers}
            management = arguments.pop("context_management")
            arguments["extra_body"] = {"context_management": management}
            if is_streamed:
                async with client.messages.stream(**arguments) as stream:
                    answer: Any = await stream.get_final_message()
            else:
                answer = await client.messages.create(**arguments)
        got = [block.to_dict() for block in answer.content]
        kinds = [block["type"] for block in got]
        assert kinds == [block["type"] for block in blocks]
        assert got[0]["signature"] == THOUGHT["signature"] and got[1]["data"] == SECRET["data"]
        assert got[2]["input"] == {"q": "x"} and got[5]["input"] == CALL["input"]
        assert got[4]["text"] == "It says so." and got[4]["citations"] == [citation]
        assert answer.stop_reason == "pause_turn" and answer.usage.service_tier == "standard"
        sent = claude.requests[-1]
        assert sent["messages"][1]["content"] == [THOUGHT, CALL]  # what nobody signed is left out
        same = ("system", "thinking", "context_management", "service_tier", "tools", "max_tokens")
        assert {name: sent[name] for name in same} == {name: body[name] for name in same}
        assert sent["model"] == MODEL
        assert claude.headers[-1]["anthropic-beta"] == "a-2026,b-2026"
        assert claude.headers[-1]["x-api-key"] == KEY


async def test_every_stop_reason_is_told(gateway: GatewayServer, claude: ScriptedAnthropic) -> None:
    for said, told in (
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("stop_sequence", "stop"),
        ("refusal", "content_filter"),
        ("pause_turn", "stop"),
        ("model_context_window_exceeded", "length"),
    ):
        claude.replies.extend([Reply(stop_reason=said), Reply(stop_reason=said)])
        assert (await chat(gateway))["choices"][0]["finish_reason"] == told
        answer = (await gateway.post("/v1/messages", MESSAGE)).json()
        assert answer["stop_reason"] == said


async def test_refusals_keep_their_kind(gateway: GatewayServer, claude: ScriptedAnthropic) -> None:
    long = "prompt is too long: 205123 tokens > 200000 maximum"
    cases = [
        (Refused(400, "invalid_request_error", long), 400, "context_length_exceeded"),
        (Refused(413, "request_too_large", "Request exceeds the size"), 400, None),
        (Refused(400, "invalid_request_error", "messages: no"), 400, "invalid_request"),
        (Refused(404, "not_found_error", "model: claude-x"), 404, "model_not_found"),
    ]
    for refused, status, code in cases:
        claude.replies.append(refused)
        response = await gateway.post("/v1/chat/completions", CHAT)
        assert response.status_code == status, response.text
        assert code is None or response.json()["error"]["code"] == code
    together = "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000"
    for said, told in (
        (long, long),
        (together, "prompt is too long: 209573 tokens > 200000 maximum"),
    ):
        claude.replies.append(Refused(400, "invalid_request_error", said))
        response = await gateway.post("/v1/messages", {**MESSAGE, "model": f"far/{MODEL}-other"})
        assert response.json()["error"] == {"type": "invalid_request_error", "message": told}


async def test_an_overloaded_provider_is_followed_by_the_next_target(
    gateway: GatewayServer, claude: ScriptedAnthropic
) -> None:
    claude.replies.append(Refused(529, "overloaded_error", "Overloaded", {"retry-after": "7"}))
    response = await gateway.post("/v1/messages", {**MESSAGE, "model": "both"})
    assert response.status_code == 200
    assert len(gateway.engine.requests) == 1


async def test_an_error_event_before_the_answer_is_an_error(
    gateway: GatewayServer, claude: ScriptedAnthropic
) -> None:
    error = {"type": "overloaded_error", "message": "Overloaded"}
    claude.replies.append(Reply((), error=error))
    response = await gateway.post("/v1/messages", {**MESSAGE, "stream": True})
    assert response.status_code >= 429 and response.json()["type"] == "error"


async def test_a_stream_that_breaks_is_an_error_event(
    gateway: GatewayServer, claude: ScriptedAnthropic
) -> None:
    for events in (4, 6, 7):
        claude.replies.append(Reply(breaks_after=events))
        response = await gateway.post("/v1/messages", {**MESSAGE, "stream": True})
        last = json.loads(response.text.strip().split("\n\n")[-1].split("data: ")[1])
        assert last["type"] == "error" and "message_stop" not in response.text


async def test_the_provider_learns_that_a_client_has_left(
    gateway: GatewayServer, claude: ScriptedAnthropic
) -> None:
    claude.replies.append(Reply(hangs=True))
    headers = {"x-api-key": gateway.secret}
    async with gateway.client.stream(
        "POST", f"{gateway.url}/v1/messages", json={**MESSAGE, "stream": True}, headers=headers
    ) as response:
        async for line in response.aiter_lines():
            if "text_delta" in line:
                break
    async with asyncio.timeout(10):
        await claude.left.wait()


async def test_its_models_are_listed_and_embeddings_are_refused(gateway: GatewayServer) -> None:
    provider = gateway.app.serving.router.catalogue.providers["far"]
    (model,) = await provider.models()
    assert model["id"] == MODEL and model["object"] == "model"
    assert model["max_model_len"] == 200_000 and model["created"] > 0
    with pytest.raises(Exception, match="no embeddings"):
        await provider.embed({"input": "x"}, MODEL)
