"""docs/gateway.md: its examples run as pasted, and its tables tell what becomes of each field."""

import asyncio
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from roost_inference.http.listener import listening
from roost_inference.testing.scripts import Say
from roost_platform.gateway.launch.client import LaunchModel, Offer
from roost_platform.gateway.launch.clients import CLIENTS
from roost_platform.settings.config import load_settings
from roost_platform.testing.processes import ROOT
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server

PAGE = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8420"
HELLO = "Hello from the scripted engine"
FUNCTION = {"type": "object", "properties": {}}
ASK = [{"role": "user", "content": "hi"}]
CHAT: Mapping[str, Any] = {
    **{"model": "fast", "messages": ASK, "stream": False, "n": 1, "stop": ["END"]},
    **{"stream_options": {"include_usage": False}, "tool_choice": "auto"},
    "tools": [{"type": "function", "function": {"name": "look", "parameters": FUNCTION}}],
    **{"parallel_tool_calls": False, "response_format": {"type": "json_object"}},
    **{"max_tokens": 9, "max_completion_tokens": 9, "temperature": 0.5, "top_p": 0.5},
    **{"presence_penalty": 0.5, "frequency_penalty": 0.5, "logit_bias": {"1": 1}},
    **{"logprobs": True, "top_logprobs": 2, "seed": 7, "reasoning_effort": "low"},
    **{"service_tier": "flex", "verbosity": "low", "session_id": "s", "cache_salt": "mine"},
    "priority": 1,
}
RESPONSES: Mapping[str, Any] = {
    **{"model": "fast", "input": "hi", "instructions": "Be brief.", "store": True},
    **{"previous_response_id": None, "background": False, "stream": False},
    "tools": [{"type": "function", "name": "look", "parameters": FUNCTION}],
    **{"tool_choice": "auto", "parallel_tool_calls": False, "max_output_tokens": 9},
    **{"temperature": 0.5, "top_p": 0.5, "presence_penalty": 0.5, "frequency_penalty": 0.5},
    **{"top_logprobs": 2, "reasoning": {"effort": "low"}, "truncation": "auto"},
    "text": {"format": {"type": "json_object"}},
    **{"service_tier": "flex", "include": ["reasoning.encrypted_content"]},
    **{"metadata": {"a": "b"}, "user": "ana", "prompt_cache_key": "s", "max_tool_calls": 3},
    **{"conversation": "conv_1", "prompt": {"id": "pmpt_1"}},
}
MESSAGES: Mapping[str, Any] = {
    **{"model": "fast", "messages": ASK, "system": "Be brief.", "max_tokens": 2000},
    **{"stream": False, "stop_sequences": ["END"], "temperature": 0.5, "top_p": 0.5, "top_k": 5},
    "tools": [{"name": "look", "input_schema": FUNCTION}],
    **{"tool_choice": {"type": "auto"}, "thinking": {"type": "enabled", "budget_tokens": 1024}},
    "output_config": {"format": {"type": "json_schema", "schema": FUNCTION}},
    **{"metadata": {"user_id": "ana"}, "context_management": {"edits": []}},
    **{"service_tier": "auto", "container": "c", "mcp_servers": []},
}
# By address: a value for each field, and those that every request needs.
FAMILIES: Mapping[str, tuple[Mapping[str, Any], tuple[str, ...]]] = {
    "/v1/chat/completions": (CHAT, ("model", "messages")),
    "/v1/responses": (RESPONSES, ("model", "input")),
    "/v1/messages": (MESSAGES, ("model", "messages", "max_tokens")),
}
# What a field means nothing without.
COMPANIONS: Mapping[str, tuple[str, ...]] = {
    "stream_options": ("stream",),
    "tool_choice": ("tools",),
    "parallel_tool_calls": ("tools",),
}


def blocks(tag: str) -> list[str]:
    """The blocks of the page with this tag."""
    return re.findall(rf"^```{tag}\n(.*?)^```$", PAGE, re.M | re.S)


def rows() -> list[tuple[str, str, str]]:
    """Address, field and what becomes of it, of every row of the tables."""
    found = []
    for address, text in re.findall(r"^### `(/v1/\S+)`\n(.*?)(?=^#|\Z)", PAGE, re.M | re.S):
        for name, what in re.findall(r"^\| `(\w+)` \| (.+?) \|$", text, re.M):
            found.append((address, name, what))
    return found


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayServer]:
    async with gateway_server(tmp_path) as server:
        server.engine.when("Say hello", Say(HELLO))
        yield server


async def output_of(command: list[str], gateway: GatewayServer) -> str:
    """What a program prints that has the key."""
    environment = {**os.environ, "GATEWAY_KEY": gateway.secret, "PYTHONPATH": ""}
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_the_curl_example_gets_an_answer(gateway: GatewayServer) -> None:
    [text] = blocks("sh")
    assert ADDRESS in text
    output = await output_of(["bash", "-c", text.replace(ADDRESS, gateway.url)], gateway)
    assert json.loads(output)["choices"][0]["message"]["content"] == HELLO


@pytest.mark.parametrize("number", [0, 1], ids=["openai", "anthropic"])
async def test_the_example_of_an_sdk_gets_an_answer(gateway: GatewayServer, number: int) -> None:
    text = blocks("python")[number]
    assert ADDRESS in text
    output = await output_of([sys.executable, "-c", text.replace(ADDRESS, gateway.url)], gateway)
    assert output.strip() == HELLO


def test_the_settings_of_the_page_are_read(tmp_path: Path) -> None:
    file = tmp_path / "roost.toml"
    file.write_text(blocks("toml")[0], encoding="utf-8")
    settings = load_settings(environ={"ROOST_CONFIG": str(file)})
    best = settings.models["best"]
    assert [target.weight for target in best.targets] == [3.0, 1.0, 1.0]
    assert settings.providers["anthropic"].wire == "anthropic"


def test_the_codex_example_is_what_launch_writes(tmp_path: Path) -> None:
    offer = Offer(ADDRESS, "sk-roost-x", tmp_path, [LaunchModel("fast")])
    written = CLIENTS["codex"].profile(offer).files[tmp_path / "config.toml"]
    assert tomllib.loads(blocks("toml")[1]) == tomllib.loads(written)


def test_the_table_of_clients_names_the_pinned_versions() -> None:
    for client in CLIENTS.values():
        assert f"| {client.title} | {client.package} |" in PAGE


@dataclass
class Recorder:
    """A provider that keeps what it is asked, and says Hi."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)

    async def answer(self, request: Request) -> StreamingResponse:
        self.bodies.append(await request.json())
        choice = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}
        chunk = json.dumps({"id": "c", "model": "m", "choices": [choice]})
        text = f"data: {chunk}\n\ndata: [DONE]\n\n"
        return StreamingResponse(iter([text]), media_type="text/event-stream")


async def test_each_field_of_the_tables_becomes_what_they_say(tmp_path: Path) -> None:
    recorder = Recorder()
    app = Starlette(routes=[Route("/v1/chat/completions", recorder.answer, methods=["POST"])])
    assert {address for address, *_ in rows()} == set(FAMILIES)
    async with listening(app) as url:
        overrides = {
            "providers": {"recorder": {"base_url": f"{url}/v1"}},
            "models": {"fast": {"targets": ["recorder/m"]}},
        }
        async with gateway_server(tmp_path, overrides=overrides) as gateway:
            faults = [
                f"{address} {name}: {fault}"
                for address, name, what in rows()
                if (fault := await fault_of(gateway, recorder, address, name, what))
            ]
    assert faults == []


async def fault_of(
    gateway: GatewayServer, recorder: Recorder, address: str, name: str, what: str
) -> str:
    """What is wrong with this row; empty for nothing."""
    values, needed = FAMILIES[address]
    names = {*needed, name, *COMPANIONS.get(name, ())}
    body = {each: values[each] for each in names}
    if name == "stream_options":
        body["stream"] = True
    asked = len(recorder.bodies)
    response = await gateway.post(address, body)
    if what == "refused":
        told = name in response.text
        return "" if response.status_code == 400 and told else f"was {response.status_code}"
    if response.status_code != 200 or len(recorder.bodies) != asked + 1:
        return f"was {response.status_code}: {response.text[:200]}"
    sent = recorder.bodies[-1]
    kind = what.partition(":")[0]
    if kind.startswith("as "):
        goes_as = re.findall(r"`(\w+)`", kind)
        return "" if any(each in sent for each in goes_as) else f"the provider got {sorted(sent)}"
    if kind not in ("here", "ignored"):
        return f"{what!r} says nothing"
    given = values[name]
    is_hidden = name not in sent or sent[name] != given or name == "stream"
    return "" if is_hidden else "the provider got it"
