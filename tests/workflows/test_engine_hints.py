"""What the engine is told about sessions: the latest, in order, bounded, and never at a cost."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from roost import Agent
from roost_inference.client.engine_client import EngineClient
from roost_inference.client.sessions import EngineSession, EngineSessions
from roost_inference.errors import EngineFailed, NoSessions
from roost_inference.http.listener import listening
from roost_inference.testing.scripted import ScriptedEngine
from roost_workflows import warmup
from roost_workflows.hints import engine_hints as module
from roost_workflows.hints.engine_hints import AT_ONCE_MAX, AWAY_S, UNABLE_S, EngineHints
from roost_workflows.warmup import TENANTS_MAX, warm

SESSION = EngineSession("s", "t")


class GatedEngine:
    """An engine's /v1/sessions that answers when its gate is open; `seen` is what it was told."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.gate = asyncio.Event()
        self.status = 200
        self.app = Starlette(
            routes=[
                Route("/v1/sessions", self.answer),
                Route("/v1/sessions/{id}", self.answer, methods=["DELETE"]),
                Route("/v1/sessions/{id}/{action}", self.answer, methods=["POST"]),
            ]
        )

    async def answer(self, request: Request) -> Response:
        body = await request.json() if await request.body() else {}
        action = request.path_params.get("action", request.method.lower())
        self.seen.append(f"{request.path_params.get('id')} {body.get('reason', action)}")
        await self.gate.wait()
        return JSONResponse({}, self.status)


class HandClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@contextlib.asynccontextmanager
async def hinting(gated: GatedEngine, clock: HandClock | None = None) -> AsyncIterator[EngineHints]:
    async with listening(gated.app) as url:
        client = EngineClient(url)
        hints = EngineHints(EngineSessions(client), clock=clock or HandClock())
        yield hints
        await hints.close()
        await client.close()


async def until_seen(gated: GatedEngine, count: int) -> None:
    async with asyncio.timeout(30):
        while len(gated.seen) < count:
            await asyncio.sleep(0.005)


async def test_orders_of_a_session_go_one_after_the_other_and_only_the_latest_counts() -> None:
    gated = GatedEngine()
    async with hinting(gated) as hints:
        hints.waits(SESSION, "tool", 5)
        await until_seen(gated, 1)
        hints.waits(SESSION, "user", 5)
        hints.waits(SESSION, "idle", 5)
        hints.ended(EngineSession("other", "t"))
        await until_seen(gated, 2)
        assert gated.seen == ["s tool", "other delete"]
        gated.gate.set()
        await hints.drain()
    assert gated.seen == ["s tool", "other delete", "s idle"]


async def test_what_waits_to_be_told_is_bounded_and_the_newest_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", AT_ONCE_MAX)
    gated = GatedEngine()
    async with hinting(gated) as hints:
        for number in range(AT_ONCE_MAX):
            hints.continues(EngineSession(f"busy-{number}", "t"))
        await until_seen(gated, AT_ONCE_MAX)
        for number in range(10):
            hints.continues(EngineSession(f"s{number}", "t"))
        gated.gate.set()
        await hints.drain()
    assert len(gated.seen[:AT_ONCE_MAX]) == AT_ONCE_MAX
    kept = [f"s{number} prefetch" for number in range(10 - AT_ONCE_MAX, 10)]
    assert sorted(gated.seen[AT_ONCE_MAX:]) == kept


@pytest.mark.parametrize(("status", "pause_s"), [(404, UNABLE_S), (500, AWAY_S)])
async def test_an_engine_that_can_not_is_asked_once_a_while_and_it_is_said_once(
    status: int, pause_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=module.__name__)
    gated, clock = GatedEngine(), HandClock()
    gated.status = status
    gated.gate.set()
    async with hinting(gated, clock) as hints:
        for at in (0.0, pause_s - 1, pause_s, pause_s * 2):
            clock.now = at
            hints.waits(SESSION, "tool", 5)
            await hints.drain()
    assert len(gated.seen) == 3
    assert len([r for r in caplog.records if r.name == module.__name__]) == 1


async def test_an_engine_that_is_down_or_hangs_costs_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.05)
    gated = GatedEngine()
    async with hinting(gated) as hints:
        hints.waits(SESSION, "tool", 5)
        await hints.drain()  # gave up by itself, behind a gate that never opens
        gated.gate.set()
    client = EngineClient("http://127.0.0.1:9")
    away = EngineHints(EngineSessions(client))
    away.ended(SESSION)
    await away.drain()
    await client.close()


async def test_warming_computes_one_token_for_each_tenant_of_an_engine_with_sessions() -> None:
    agent = Agent("host", "Be kind.")
    async with ScriptedEngine() as engine:
        client = EngineClient(engine.base_url)
        assert await warm(client, agent, [f"t{n}" for n in range(TENANTS_MAX + 3)]) == TENANTS_MAX
        salts = [body["cache_salt"] for body in engine.requests]
        assert salts == [f"t{n}" for n in range(TENANTS_MAX)]
        assert {(body["max_tokens"], body["priority"]) for body in engine.requests} == {(1, 2)}
        await client.close()


async def test_warming_waits_for_a_loading_engine_and_gives_up_without_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(warmup, "LOOK_AGAIN_S", 0.0)
    monkeypatch.setattr(warmup, "LOOKS_MAX", 5)
    gated, agent = GatedEngine(), Agent("host", "Be kind.")
    gated.gate.set()
    async with listening(gated.app) as url:
        client = EngineClient(url)
        for status, looks in ((503, 5), (404, 1), (500, 1)):
            gated.status, before = status, len(gated.seen)
            assert await warm(client, agent, ["t"]) == 0
            assert len(gated.seen) - before == looks
        await client.close()


async def test_the_engine_lists_what_it_knows_and_says_when_it_knows_nothing() -> None:
    gated = GatedEngine()
    gated.gate.set()
    async with ScriptedEngine() as engine, listening(gated.app) as url:
        knowing, strange = EngineClient(engine.base_url), EngineClient(url)
        await EngineSessions(knowing).prefetch(SESSION)
        assert engine.orders == [("s", "prefetch", "tool")]
        assert await EngineSessions(knowing).list(5) == []
        with pytest.raises(EngineFailed):
            await EngineSessions(strange).list(5)
        gated.status = 404
        with pytest.raises(NoSessions):
            await EngineSessions(strange).list(5)
        await knowing.close()
        await strange.close()
