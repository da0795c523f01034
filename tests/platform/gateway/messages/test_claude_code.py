"""A request as Claude Code sends it goes through whole."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from roost_inference.testing.scripts import Call
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server

SESSION = "0a1b2c3d-0000-4000-8000-00000000abcd"
HEADERS = {
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,"
    "context-management-2025-06-27,prompt-caching-scope-2026-01-05,effort-2025-11-24,"
    "fine-grained-tool-streaming-2025-05-14,advanced-tool-use-2025-11-20",
    "user-agent": "claude-cli/2.1.197 (external, cli)",
    "x-app": "cli",
    "x-claude-code-session-id": SESSION,
}
EPHEMERAL = {"type": "ephemeral"}


def request(model: str = "fast") -> dict[str, Any]:
    """The shape of reference/gateway.md §3.1: 24 tools, 76 KB, every field that it sends."""
    tools: list[dict[str, Any]] = [
        {
            "name": f"Tool{number}",
            "description": f"Does the work of tool {number}. " * 75,
            "input_schema": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "properties": {"path": {"type": "string"}, "limit": {"type": "number"}},
                "required": ["path"],
                "additionalProperties": False,
            },
        }
        for number in range(23)
    ]
    tools.append({"type": "web_search_20250305", "name": "web_search", "max_uses": 8})
    return {
        "model": model,
        "max_tokens": 32_000,
        "stream": True,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197; cch=ab12;"},
            {"type": "text", "text": "You are Claude Code.", "cache_control": EPHEMERAL},
            {"type": "text", "text": "Long rules. " * 2000, "cache_control": EPHEMERAL},
        ],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "<system-reminder>Today is Sunday.</system-reminder>"},
                    {
                        "type": "text",
                        "text": "Read the file with Tool1",
                        "cache_control": EPHEMERAL,
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "I list first.", "signature": ""},
                    {"type": "text", "text": "I list the folder."},
                    {"type": "tool_use", "id": "toolu_1", "name": "Tool0", "input": {"path": "."}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": "a.txt"},
                    {"type": "text", "text": "Now Tool1 please", "cache_control": EPHEMERAL},
                ],
            },
        ],
        "tools": tools,
        "metadata": {"user_id": f'{{"device_id":"d","session_id":"{SESSION}"}}'},
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "medium"},
        "temperature": 1,
    }


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayServer]:
    async with gateway_server(tmp_path) as server:
        yield server


async def test_its_request_gets_a_tool_call_in_a_stream(gateway: GatewayServer) -> None:
    body = request()
    assert len(json.dumps(body)) > 70_000 and len(body["tools"]) == 24
    gateway.engine.when("Now Tool1", Call("Tool1", '{"path": "a.txt"}'))
    response = await gateway.client.post(
        f"{gateway.url}/v1/messages?beta=true",
        json=body,
        headers={**HEADERS, "authorization": f"Bearer {gateway.secret}"},
    )
    assert response.status_code == 200, response.text
    events = [
        json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: ")
    ]
    kinds = [event["type"] for event in events if event["type"] != "ping"]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"]
    assert events[0]["message"]["usage"]["input_tokens"] > 10_000
    (start,) = [event for event in events if event["type"] == "content_block_start"]
    assert start["content_block"]["name"] == "Tool1"
    pieces = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert json.loads("".join(piece["partial_json"] for piece in pieces)) == {"path": "a.txt"}
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


async def test_the_engine_gets_a_stable_prefix_and_only_tools_it_can_call(
    gateway: GatewayServer,
) -> None:
    headers = {**HEADERS, "authorization": f"Bearer {gateway.secret}"}
    for cch in ("ab12", "ff99"):
        body = request()
        body["system"][0]["text"] = f"x-anthropic-billing-header: cc_version=2.1.197; cch={cch};"
        body["stream"] = False
        await gateway.client.post(f"{gateway.url}/v1/messages", json=body, headers=headers)
    first, second = gateway.engine.requests
    assert first["messages"] == second["messages"]
    assert first["messages"][0]["content"].startswith("You are Claude Code.")
    assert [message["role"] for message in first["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "user",
    ]
    assert len(first["tools"]) == 23
    assert first["session_id"] == second["session_id"] and first["session_id"].startswith("gw-")
    assert "thinking" not in first and "context_management" not in first


async def test_an_unknown_session_header_is_no_session(gateway: GatewayServer) -> None:
    body = {**request(), "metadata": None, "stream": False}
    await gateway.post("/v1/messages", body)
    assert not gateway.engine.requests[-1]["session_id"]
