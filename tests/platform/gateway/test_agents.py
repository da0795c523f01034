"""Agents' model calls take the gateway's routes in their own process, and each has a row."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from roost import Agent, ModelSettings
from roost_inference.client.engine_client import ChatRequest, Completed, Delta, EngineClient
from roost_inference.errors import EngineError, PromptTooLong, QueueFull
from roost_inference.testing.scripted import ScriptedEngine
from roost_inference.testing.scripts import Say
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.errors import ConfigError
from roost_platform.gateway.agents import recording as recording_module
from roost_platform.gateway.agents.recording import Recorder, recording
from roost_platform.gateway.agents.routed import RoutedModels
from roost_platform.gateway.keys.ports import Reservation, Spent
from roost_platform.settings.config import load_settings
from roost_platform.testing.providers.upstream import Act, Upstream, delta, refused, said, upstream
from roost_platform.wiring.models import routed_models
from roost_workflows.agents import AgentRegistry
from roost_workflows.testing.lab import Lab

CONCIERGE = Agent("concierge", instructions="Help.")


@dataclass(slots=True)
class Office:
    """What a worker asks models with: the engine in use, one other provider, and their rows."""

    routed: RoutedModels
    engine: ScriptedEngine
    provider: Upstream
    database: Database

    async def rows(self, count: int = 1) -> list[models.GatewayCall]:
        """The rows, once there are so many."""
        async with asyncio.timeout(20):
            while True:
                async with self.database.read() as session:
                    found = list(await session.scalars(select(models.GatewayCall)))
                if len(found) >= count:
                    return found
                await asyncio.sleep(0.02)

    async def ask(self, **given: Any) -> tuple[str, Completed]:
        """What was streamed, and the whole answer."""
        shown, done = "", None
        async with contextlib.aclosing(self.routed.stream(asking(**given))) as items:
            async for item in items:
                if isinstance(item, Completed):
                    done = item
                else:
                    shown = item.text if item.replaces else shown + item.text
        assert done is not None
        return shown, done


def asking(text: str = "Hello", **given: Any) -> ChatRequest:
    who = {"agent": "guide", "person": "person-1", "session_id": "session-1"}
    return ChatRequest([{"role": "user", "content": text}], **{**who, **given})


@pytest.fixture
async def office(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Office]:
    database = Database(sqlite_url)
    async with ScriptedEngine() as engine, upstream() as provider:
        settings = load_settings(
            {
                "data_dir": tmp_path,
                "engine": {"url": engine.base_url},
                "providers": {
                    "p": {"base_url": provider.base_url, "first_byte_timeout_s": 0.5},
                    "away": {"base_url": "http://127.0.0.1:1/v1"},
                    "openai": {"base_url": provider.base_url},
                },
                "models": {
                    "fast": {
                        "targets": [
                            {"provider": "p", "model": "m", "price": {"input": 1, "output": 10}},
                            {"provider": "roost", "order": 1},
                        ]
                    },
                    "away": {"targets": ["away/m"]},
                    "small": {"targets": ["p/m"], "longer": ["roost"]},
                },
                "gateway": {"retries": 0},
            },
            environ={},
        )
        client = EngineClient(engine.base_url)
        registry = AgentRegistry.of(CONCIERGE)
        async with routed_models(settings, database, client, registry) as routed:
            yield Office(routed, engine, provider, database)
        await client.close()
    await database.close()


async def test_an_alias_goes_to_its_target_and_has_a_row(office: Office) -> None:
    office.provider.acts = [Act(events=said("Hel", "lo"))]
    shown, done = await office.ask(model="fast", cache_salt="salt", priority=1)
    assert (shown, done.text, done.model) == ("Hello", "Hello", "upstream")
    (body,) = office.provider.requests
    assert body["model"] == "m"
    assert not {"cache_salt", "priority", "session_id"} & set(body)
    (row,) = await office.rows()
    assert (row.key_id, row.agent, row.session, row.person) == (
        "",
        "guide",
        "session-1",
        "person-1",
    )
    assert (row.model, row.target, row.outcome, row.status) == ("fast", "p/m", "ok", 200)
    assert (row.input_tokens, row.output_tokens, row.cost_microusd) == (7, 2, 27)
    assert row.ttft_ms is not None and row.duration_ms is not None


async def test_a_hosted_model_costs_what_the_package_of_prices_says(office: Office) -> None:
    office.provider.acts = [Act(events=said("Hel", "lo"))]
    await office.ask(model="openai/gpt-4o-mini")
    (row,) = await office.rows()
    # 7 tokens at 0.15 and 2 at 0.60 dollars for a million, rounded up once.
    assert (row.target, row.cost_microusd) == ("openai/gpt-4o-mini", 3)


async def test_no_alias_is_the_engine_in_use_with_its_hints(office: Office) -> None:
    office.engine.when("Hello", Say("Hello to you"))
    _, done = await office.ask(cache_salt="salt")
    assert done.text == "Hello to you" and office.provider.requests == []
    (body,) = office.engine.requests
    assert (body["cache_salt"], body["session_id"]) == ("salt", "session-1")
    (row,) = await office.rows()
    assert (row.model, row.target, row.outcome) == ("roost", "roost/scripted", "ok")


@pytest.mark.parametrize(
    "act",
    [refused(503, "starting"), refused(401, "no such key"), Act(then="hang"), Act(then="drop")],
    ids=["503", "401", "silent", "lost"],
)
async def test_a_call_falls_back_before_its_first_word(office: Office, act: Act) -> None:
    office.engine.when("Hello", Say("Hello to you"))
    office.provider.acts = [act]
    shown, _ = await office.ask(model="fast", cache_salt="salt")
    assert shown == "Hello to you"
    assert office.engine.requests[0]["cache_salt"] == "salt"
    (row,) = await office.rows()
    assert row.target.startswith("roost") and "p/m" in row.tries


async def test_a_model_that_says_no_word_for_long_is_not_silent(office: Office) -> None:
    thinks = {"index": 0, "delta": {"reasoning_content": "hm"}, "finish_reason": None}
    thinking = {"id": "x", "model": "upstream", "choices": [thinks]}
    office.provider.acts = [Act(events=[thinking], then="hang")]
    items = office.routed.stream(asking(model="fast"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0), contextlib.aclosing(items):
            await anext(items)
    assert office.engine.requests == []


async def test_nothing_is_said_twice_when_an_answer_breaks(office: Office) -> None:
    office.provider.acts = [Act(events=[delta("Hel")], then="drop")]
    shown = []
    with pytest.raises(EngineError) as broken:
        async for item in office.routed.stream(asking(model="fast")):
            assert isinstance(item, Delta)
            shown.append(item.text)
    assert shown == ["Hel"] and broken.value.retryable
    assert office.engine.requests == []
    (row,) = await office.rows()
    assert (row.outcome, row.target, row.output_tokens) == ("failed", "p/m", 1)


async def test_a_prompt_that_is_too_long_goes_to_the_longer_model_or_is_told(
    office: Office,
) -> None:
    office.provider.acts = [refused(400, "prompt is too long: 9 tokens > 8 maximum")]
    office.engine.when("Hello", Say("Hello to you"))
    assert (await office.ask(model="small"))[0] == "Hello to you"
    with pytest.raises(PromptTooLong) as told:
        await office.ask(model="p/m")
    assert told.value.code == "context_length_exceeded"


async def test_a_stop_closes_the_provider_s_connection_at_once(office: Office) -> None:
    office.provider.acts = [Act(events=[delta("four more words here")], then="hang")]

    async def turn() -> None:
        async with contextlib.aclosing(office.routed.stream(asking(model="fast"))) as items:
            async for _ in items:
                pass

    task = asyncio.create_task(turn())
    async with asyncio.timeout(20):
        while not office.provider.requests:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    stopped_at = time.monotonic()
    task.cancel()
    await asyncio.wait({task})
    async with asyncio.timeout(20):
        while not office.provider.left_at:
            await asyncio.sleep(0.01)
    assert office.provider.left_at[0] - stopped_at < 1
    (row,) = await office.rows()
    assert (row.outcome, row.status, row.output_tokens) == ("cancelled", 499, 5)


async def test_a_full_or_cooling_model_is_a_queue_to_a_turn(office: Office) -> None:
    office.provider.acts = [refused(429, "slow down", {"retry-after": "30"})]
    for _ in range(2):
        with pytest.raises(QueueFull) as waits:
            await office.ask(model="p/m")
        assert 25 < waits.value.retry_after_s <= 30
    assert len(office.provider.requests) == 1


@dataclass(slots=True)
class SlowLog:
    """Storage that is away at first, and that answers when the test lets it."""

    failures: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)
    written: list[str] = field(default_factory=list)

    async def record(self, wanted: Reservation, spent: Spent) -> None:
        """Keep the id."""
        await self.go.wait()
        if self.failures:
            self.failures -= 1
            raise ConnectionError("away")
        self.written.append(wanted.call_id)


def row(number: int) -> tuple[Reservation, Spent]:
    id = f"call-{number}"
    return Reservation(id, "", "chat", "fast", 0, 0), Spent(id, "ok", 200)


async def test_rows_wait_for_storage_and_calls_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording_module, "PAUSE_S", 0.01)
    storage = SlowLog(failures=2)
    async with recording(storage) as recorder:
        for number in range(3):
            await recorder.put(*row(number))
        assert storage.written == []
        storage.go.set()
    assert storage.written == ["call-0", "call-1", "call-2"]


async def test_as_many_rows_wait_as_may_and_the_next_call_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recording_module, "ROWS_MAX", 2)
    recorder = Recorder(SlowLog())
    await recorder.put(*row(1))
    await recorder.put(*row(2))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await recorder.put(*row(3))


@pytest.mark.parametrize("model", ["nobody", "nowhere/x"])
async def test_an_agent_whose_model_is_not_there_stops_the_worker_s_start(
    tmp_path: Path, sqlite_url: str, model: str
) -> None:
    settings = load_settings({"data_dir": tmp_path}, environ={})
    registry = AgentRegistry.of(CONCIERGE, Agent("guide", instructions="Lead.", model=model))
    database, client = Database(sqlite_url), EngineClient("http://127.0.0.1:1")
    with pytest.raises(ConfigError, match=f"'guide'.*'{model}'"):
        async with routed_models(settings, database, client, registry):
            pass
    await client.close()
    await database.close()


async def test_a_turn_of_an_agent_with_an_alias_is_answered_and_stopped(
    lab: Lab, office: Office
) -> None:
    guide = Agent("guide", instructions="Lead.", model=ModelSettings(name="fast"))
    office.provider.acts = [Act(events=said("This way")), Act(events=[delta("Wait")], then="hang")]
    async with lab.worker(guide, engine=office.routed):
        await lab.say("chat", "Where to?")
        turn = await lab.turn("chat")
        assert turn.state == "done"
        await lab.say("chat", "And now?")
        await lab.until(lambda: len(office.provider.requests) == 2)
        await lab.stop("chat")
        assert (await lab.turn("chat", 2)).state == "stopped"
        await lab.until(lambda: office.provider.left_at)
    first, second = await office.rows(2)
    assert (first.agent, first.model, first.outcome) == ("guide", "fast", "ok")
    assert (second.agent, second.outcome) == ("guide", "cancelled")
    assert office.engine.requests == []


async def test_a_provider_that_counts_nothing_is_no_free_model_of_an_agent(office: Office) -> None:
    end = {"index": 0, "delta": {}, "finish_reason": "tool_calls"}
    function = {"name": "look", "arguments": '{"at": "the sky"}'}
    call = {"index": 0, "id": "a", "type": "function", "function": function}
    office.provider.acts = [Act(events=[delta(tool_calls=[call]), {"choices": [end]}, "[DONE]"])]
    await office.ask(model="fast")
    (row,) = await office.rows()
    assert row.input_tokens == 3 and row.output_tokens == 6 and row.cost_microusd > 0
