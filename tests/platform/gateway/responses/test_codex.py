"""What Codex 0.169 sends is answered as a whole: 40 KB, tools of OpenAI's own, no instructions."""

import json
from typing import Any

from tests.platform.gateway.responses.replaying import events_of, kinds

from roost_inference.testing.scripts import Call, Say
from roost_platform.testing.gateway import GatewayServer

RULES = "You are a coding agent that runs in a terminal. " * 400
AGENTS = "# AGENTS.md\nKeep functions short. " * 300
NAMES = ("shell", "update_plan", "apply_patch", "view_image", "list_dir", "read_file", "grep")


def function(name: str) -> dict[str, Any]:
    return {
        "type": "function",
        "name": name,
        "description": f"{name} does one thing. " * 20,
        "strict": False,
        "parameters": {
            "type": "object",
            "properties": {"command": {"type": "array", "items": {"type": "string"}}},
            "required": ["command"],
            "additionalProperties": False,
        },
    }


def text(role: str, *texts: str) -> dict[str, Any]:
    parts = [{"type": "input_text", "text": one} for one in texts]
    return {"type": "message", "role": role, "content": parts}


BODY: dict[str, Any] = {
    "model": "fast",
    "input": [
        text("developer", RULES),
        text("developer", "<permissions>sandbox: workspace-write</permissions>"),
        text("user", AGENTS, "<environment_context>cwd: /home/ada</environment_context>"),
        text("user", "list the files"),
    ],
    "tools": [
        *map(function, NAMES),
        {
            "type": "namespace",
            "name": "multi_agent_v1",
            "description": "Agents.",
            "tools": [function("spawn_agent"), function("wait_agent")],
        },
        {"type": "web_search", "external_web_access": False},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "reasoning": {"summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "0199-session",
    "client_metadata": {"x-codex-installation-id": "1"},
}
HEADERS = {"x-codex-beta-features": "remote_compaction_v2", "originator": "codex_exec"}


async def send(gateway: GatewayServer, body: dict[str, Any]) -> list[dict[str, Any]]:
    headers = {"authorization": f"Bearer {gateway.secret}", **HEADERS}
    answer = await gateway.client.post(f"{gateway.url}/v1/responses", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return events_of(answer.text)


async def test_a_turn_of_codex_with_a_tool_comes_to_its_end(gateway: GatewayServer) -> None:
    assert 36_000 < len(json.dumps(BODY)) < 44_000
    gateway.engine.when(
        "list the files",
        Say("<think>I have to look.</think>I look."),
        Call("shell", '{"command": ["ls"]}'),
    )
    first = await send(gateway, BODY)
    output = first[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["reasoning", "message", "function_call"]
    assert output[0]["summary"] == [{"type": "summary_text", "text": "I have to look."}]
    sent = gateway.engine.requests[-1]
    assert [message["role"] for message in sent["messages"]] == ["system", "user", "user"]
    assert [tool["function"]["name"] for tool in sent["tools"]] == list(NAMES)
    assert sent["parallel_tool_calls"] is False
    assert str(sent["session_id"]).startswith("gw-")
    assert not {"client_metadata", "prompt_cache_key", "include"} & set(sent)

    done = [event["item"] for event in first if event["type"] == "response.output_item.done"]
    result = {
        "type": "function_call_output",
        "call_id": output[2]["call_id"],
        "output": "Exit code: 0\nOutput:\nREADME.md",
    }
    second = await send(gateway, {**BODY, "input": [*BODY["input"], *done, result]})
    assert kinds(second)[-1] == "completed"
    end = second[-1]["response"]
    assert end["output"][-1]["content"][0]["text"].startswith("Done: Exit code: 0")
    again = gateway.engine.requests[-1]
    assert again["messages"][: len(sent["messages"])] == sent["messages"]
    assert again["session_id"] == sent["session_id"]


async def test_the_response_tells_the_tools_that_the_model_had(gateway: GatewayServer) -> None:
    end = (await send(gateway, BODY))[-1]["response"]
    assert [tool["name"] for tool in end["tools"]] == list(NAMES)
    assert (end["tool_choice"], end["store"]) == ("auto", False)
    assert end["reasoning"] == {"effort": None, "summary": "auto"}
