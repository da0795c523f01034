"""A forked child on the real engine: all before its task is computed already."""

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from roost import Agent, ModelSettings
from roost.builtin import delegate
from roost_inference.benchmarking.servers import roost
from roost_inference.client.assembly import Completed, Delta, ToolCall
from roost_inference.client.engine_client import ChatRequest, EngineClient
from roost_inference.llama.quantize import bundled_model
from roost_platform.testing.chats import Person
from roost_platform.testing.workers import InProcessWorker

BEYOND_MAX = 0.05  # of the prompt, computed beyond the task
FORKS = 3
LEADER = Agent(
    "concierge",
    "You plan trips by train, with care and in few words. " * 12,
    tools=[delegate()],
    model=ModelSettings(temperature=0, max_tokens=8),
)


@dataclass
class Half:
    """The real engine, whose first answer is replaced by calls of tools: it is a small model."""

    client: EngineClient
    calls: tuple[ToolCall, ...]
    asked: list[ChatRequest] = field(default_factory=list)
    done: list[Completed] = field(default_factory=list)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Completed, None]:
        self.asked.append(request)
        async with contextlib.aclosing(self.client.stream(request)) as events:
            async for event in events:
                if not isinstance(event, Completed):
                    continue
                self.done.append(event)
                is_first = len(self.done) == 1
                yield replace(
                    event,
                    text="" if is_first else "It leaves at nine.",
                    tool_calls=self.calls if is_first else (),
                )


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[EngineClient]:
    async with roost(bundled_model(), tmp_path, 1, context_length=8192) as server:
        opened = EngineClient(str(server.http.base_url))
        yield opened
        await opened.close()


@pytest.mark.timeout(300)
async def test_a_forked_child_prefills_only_its_task(
    sqlite_ada: Person, client: EngineClient
) -> None:
    calls = tuple(
        ToolCall(f"c{n}", "delegate", json.dumps({"task": f"Find train number {n}."}))
        for n in range(FORKS)
    )
    engine = Half(client, calls)
    worker = InProcessWorker(sqlite_ada, LEADER, engine=engine)
    await sqlite_ada.says("I want to go to Lyon on Friday, early. " * 10)
    await worker.work()
    parent, *children = engine.done[: 1 + FORKS]
    for child in children:
        beyond = parent.prompt_tokens - child.cached_tokens
        print(f"prompt {child.prompt_tokens}, cached {child.cached_tokens}, beyond {beyond}")
        assert beyond <= BEYOND_MAX * child.prompt_tokens
    assert engine.asked[1].messages[-1]["content"].endswith("\n\nFind train number 0.")
