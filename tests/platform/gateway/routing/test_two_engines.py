"""The gateway over several engines: its calls are routed, split and released like agents' calls."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from roost_inference.http.listener import listening
from roost_inference.testing.peers.app import peer_app
from roost_inference.testing.peers.scripted import ScriptedPeer, answer_to
from roost_platform.gateway.config import BUNDLED
from roost_platform.gateway.observing import facts
from roost_platform.gateway.providers.engine import EngineProvider
from roost_platform.gateway.providers.pooled import PooledProvider
from roost_platform.telemetry.gateway_figures import GatewayFigures
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server

LONG = "word " * 2000


@dataclass
class Engines:
    decode: list[ScriptedPeer]
    prefill: ScriptedPeer
    server: GatewayServer
    provider: PooledProvider

    async def ask(self, text: str, **fields: Any) -> dict[str, Any]:
        body = {"model": "default", "messages": [{"role": "user", "content": text}], **fields}
        answer = await self.server.post("/v1/chat/completions", body)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told


@pytest.fixture
async def engines(tmp_path: Path) -> AsyncIterator[Engines]:
    decode = [ScriptedPeer(name, ms_per_token=0.5) for name in ("a", "b")]
    prefill = ScriptedPeer("p", ms_per_token=0.01)
    for peer in decode:
        peer.peers = {"p": prefill}
    async with contextlib.AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(listening(peer_app(one))) for one in decode]
        reader = await stack.enter_async_context(listening(peer_app(prefill)))
        overrides = {"engine": {"url": ",".join(urls), "prefill_urls": [reader]}}
        server = await stack.enter_async_context(gateway_server(tmp_path, overrides=overrides))
        provider = server.app.serving.router.catalogue.providers[BUNDLED]
        assert isinstance(provider, PooledProvider)
        await provider.router.learn()
        yield Engines(decode, prefill, server, provider)


async def test_a_long_prompt_of_a_client_is_read_elsewhere(engines: Engines) -> None:
    answer = await engines.ask(LONG)
    assert answer["choices"][0]["message"]["content"].strip() == answer_to(LONG)
    assert answer["usage"]["prompt_tokens"] == 2000
    assert engines.prefill.computed == 2000
    assert sum(one.fetched for one in engines.decode) == 1999
    assert engines.prefill.leases == {}


async def test_figures_tell_where_requests_went(engines: Engines) -> None:
    registry = CollectorRegistry()
    stop = facts.listen(GatewayFigures(registry, {}, None).take)
    try:
        await engines.ask(LONG)
        engines.decode[0].die()
        await asyncio.gather(*(engines.ask(f"question {number}") for number in range(4)))
    finally:
        stop()

    def count(name: str, step: str) -> float:
        labels = {"engine": name, "step": step}
        return registry.get_sample_value("roost_engine_requests_total", labels) or 0.0

    dead, living = (one.name for one in engines.provider.router.decode)
    reader = engines.provider.router.prefill[0].name
    assert count(dead, "ended") + count(living, "ended") == 5
    assert count(dead, "failed") == count(dead, "sent") - count(dead, "ended") > 0
    assert count(reader, "offered") == count(reader, "asked") == 1


async def test_a_client_cannot_name_an_offer_itself(engines: Engines) -> None:
    forged = {"do_remote_prefill": True, "remote_engine_id": "p", "remote_request_id": "x"}
    await engines.ask("short", kv_transfer_params=forged)
    assert "fetch" not in engines.prefill.told


async def test_a_conversation_stays_and_calls_at_once_are_shared(engines: Engines) -> None:
    await asyncio.gather(*(engines.ask(f"question {n}") for n in range(8)))
    assert [one.told.count("answer") for one in engines.decode] == [4, 4]
    told = [one.told.count("answer") for one in engines.decode]
    messages = [{"role": "user", "content": "question 1"}]
    for turn in range(4):
        messages += [{"role": "assistant", "content": "yes"}, {"role": "user", "content": "on"}]
        await engines.ask(f"turn {turn}", messages=list(messages))
    grown = [one.told.count("answer") - n for one, n in zip(engines.decode, told, strict=True)]
    assert sorted(grown) == [0, 4]


async def test_an_engine_that_goes_costs_no_call(engines: Engines) -> None:
    engines.decode[0].die()
    for number in range(5):
        await engines.ask(f"still there {number}")
    assert engines.decode[1].told.count("answer") == 5


async def test_one_engine_alone_is_asked_as_before(tmp_path: Path) -> None:
    async with gateway_server(tmp_path) as server:
        provider = server.app.serving.router.catalogue.providers[BUNDLED]
        assert type(provider) is EngineProvider
        body = {"model": "default", "messages": [{"role": "user", "content": LONG}]}
        assert (await server.post("/v1/chat/completions", body)).status_code == 200
        assert len(server.engine.requests) == 1
