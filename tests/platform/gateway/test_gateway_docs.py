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
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from roost_inference.http.listener import listening
from roost_inference.testing.scripts import Say
from roost_platform.gateway.launch.client import LaunchModel, Offer
from roost_platform.gateway.launch.clients import CLIENTS
from roost_platform.settings.config import load_settings
from roost_platform.testing.processes import ROOT
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server
from roost_platform.testing.providers.upstream import Act, upstream

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
    **{"priority": 1, "user": "ana", "functions": [{"name": "look", "parameters": FUNCTION}]},
    "function_call": {"name": "look"},
}
COMPLETIONS: Mapping[str, Any] = {
    **{"model": "fast", "prompt": "hi", "stream": False, "stream_options": {}, "n": 1},
    **{"best_of": 1, "echo": True, "logprobs": 2, "suffix": "end", "max_tokens": 9},
    **{"temperature": 0.5, "top_p": 0.5, "presence_penalty": 0.5, "frequency_penalty": 0.5},
    **{"logit_bias": {"1": 1}, "seed": 7, "stop": ["END"], "user": "ana", "session_id": "s"},
    **{"cache_salt": "mine", "priority": 1},
}
EMBEDDINGS: Mapping[str, Any] = {
    **{"model": "fast", "input": "hi", "encoding_format": "base64", "dimensions": 2, "user": "ana"},
}
# Of an address; the value that leaves one of two models.
MODELS: Mapping[str, Any] = {"limit": 1, "after_id": "fast", "before_id": "slow"}
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
    "/v1/completions": (COMPLETIONS, ("model", "prompt")),
    "/v1/embeddings": (EMBEDDINGS, ("model", "input")),
    "/v1/models": (MODELS, ()),
    "/v1/responses": (RESPONSES, ("model", "input")),
    "/v1/messages": (MESSAGES, ("model", "messages", "max_tokens")),
}
# What a field means nothing without.
COMPANIONS: Mapping[str, tuple[str, ...]] = {
    "stream_options": ("stream",),
    "tool_choice": ("tools",),
    "parallel_tool_calls": ("tools",),
    "top_logprobs": ("logprobs",),
    "function_call": ("functions",),
}
# What a provider with Anthropic's wire is asked for beside what OpenAI's table has.
ANTHROPIC: Mapping[str, Any] = {
    **{"min_tokens": 2, "ignore_eos": True, "repetition_penalty": 1.1, "min_p": 0.1},
    **{"prediction": {"type": "content", "content": "x"}, "metadata": {"a": "b"}, "store": True},
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


def rows_of_the_other_wire() -> list[tuple[str, str]]:
    """Field and what becomes of it, of the table of Anthropic's wire."""
    _, text = PAGE.split("### What Anthropic's wire has no words for\n")
    return re.findall(r"^\| `(\w+)` \| (\w+) \|$", text, re.M)


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


async def test_the_alias_of_the_page_is_answered_by_the_engine_whatever_model_it_runs(
    tmp_path: Path,
) -> None:
    fast = tomllib.loads(blocks("toml")[0])["models"]["fast"]
    assert fast["targets"] == ["roost"]  # another name is one that the engine does not have
    async with gateway_server(tmp_path, overrides={"models": {"fast": fast}}) as gateway:
        gateway.engine.when("Say hello", Say(HELLO))
        ask = {"model": "fast", "messages": [{"role": "user", "content": "Say hello."}]}
        response = await gateway.post("/v1/chat/completions", ask)
        assert response.json()["choices"][0]["message"]["content"] == HELLO


def test_the_codex_example_is_what_launch_writes(tmp_path: Path) -> None:
    offer = Offer(ADDRESS, "sk-roost-x", tmp_path, [LaunchModel("roost", 8192)])
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

    async def vectors(self, request: Request) -> JSONResponse:
        self.bodies.append(await request.json())
        return JSONResponse({"data": [{"index": 0, "embedding": [0.5, 0.25]}]})


async def test_each_field_of_the_tables_becomes_what_they_say(tmp_path: Path) -> None:
    recorder = Recorder()
    answering = {"/v1/chat/completions": recorder.answer, "/v1/embeddings": recorder.vectors}
    app = Starlette(routes=[Route(*one, methods=["POST"]) for one in answering.items()])
    assert {address for address, *_ in rows()} == set(FAMILIES)
    async with listening(app) as url:
        overrides = {
            "providers": {"recorder": {"base_url": f"{url}/v1"}},
            "models": {"fast": {"targets": ["recorder/m"]}, "slow": {"targets": ["recorder/m"]}},
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
    if address == "/v1/models":
        return await fault_of_list(gateway, {name: values[name]})
    companions = (each for each in COMPANIONS.get(name, ()) if each in values)
    names = {*needed, name, *companions}
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


async def fault_of_list(gateway: GatewayServer, query: Mapping[str, Any]) -> str:
    """What is wrong with a list of models that is asked for in this way; empty for nothing."""
    headers = {"authorization": f"Bearer {gateway.secret}", "anthropic-version": "2023-06-01"}

    async def names(**params: Any) -> list[str]:
        url = f"{gateway.url}/v1/models"
        response = await gateway.client.get(url, params=params, headers=headers)
        return [entry["id"] for entry in response.json()["data"]]

    every, some = await names(), await names(**query)
    is_part = 0 < len(some) < len(every) and set(some) < set(every)
    return "" if is_part else f"{query} gave {some} of {every}"


async def test_each_field_that_anthropic_has_no_words_for_is_refused_or_told(
    tmp_path: Path,
) -> None:
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 1}}}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}}
    hi = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
    answer = [start, block, hi, {"type": "message_stop"}]
    async with upstream(Act(events=answer)) as provider, upstream() as other:
        overrides = {
            "providers": {
                "claude": {"base_url": provider.base_url, "wire": "anthropic"},
                "gpt": {"base_url": other.base_url},
            },
            "models": {
                "fast": {"targets": ["claude/m"]},
                "any": {"targets": ["claude/m", {"provider": "gpt", "model": "m", "order": 1}]},
            },
        }
        async with gateway_server(tmp_path, overrides=overrides) as gateway:
            for name, what in rows_of_the_other_wire():
                body = {"model": "fast", "messages": ASK, name: {**ANTHROPIC, **CHAT}[name]}
                for stream in (True, False):
                    response = await gateway.post(
                        "/v1/chat/completions", {**body, "stream": stream}
                    )
                    told = response.headers.get("x-roost-ignored")
                    if what == "told":
                        assert (response.status_code, told) == (200, name)
                    else:
                        assert what == "refused" and response.status_code == 400
                        assert response.json()["error"]["param"] == name
                # Another target may obey it.
                response = await gateway.post("/v1/chat/completions", {**body, "model": "any"})
                assert response.status_code == 200
                assert (name in other.requests[-1]) if what == "refused" else not other.requests
                other.requests.clear()
            native = {"model": "fast", "messages": ASK, "max_tokens": 9, "container": "c"}
            response = await gateway.post("/v1/messages", native)
            assert "x-roost-ignored" not in response.headers
            response = await gateway.post("/v1/messages", {**native, "model": "gpt/m"})
            assert response.headers["x-roost-ignored"] == "container"
            bash = {"tools": [{"type": "bash_20250124", "name": "bash"}]}
            forced = {**native, **bash, "tool_choice": {"type": "any"}}
            assert (await gateway.post("/v1/messages", forced)).status_code == 200
            refused = await gateway.post("/v1/messages", {**forced, "model": "gpt/m"})
            assert refused.status_code == 400 and "tool_choice" in refused.text
