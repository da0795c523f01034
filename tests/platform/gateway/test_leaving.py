"""A client that leaves stops the work behind it: before the first token, in a stream, without one.

Through the gateway as it is served, to providers that see when their connection is closed.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from roost_inference.config import EngineConfig
from roost_inference.http.chat_service import EngineChatService
from roost_inference.http.listener import listening
from roost_inference.http.routes import ServiceHolder, build_app
from roost_inference.loading import load_engine
from roost_inference.testing.scripts import Hang
from roost_platform.db import models
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server
from roost_platform.testing.providers.upstream import Act, Upstream, delta, upstream

pytestmark = pytest.mark.usefixtures("sqlite_url")  # a migrated file is copied

SOON_S = 1.0


async def visit(gateway: GatewayServer, **more: Any) -> asyncio.StreamWriter:
    """Send a request over a connection that the test closes."""
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 900, **more}
    data = json.dumps(body).encode()
    port = int(gateway.url.rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        b"authorization: Bearer " + gateway.secret.encode() + b"\r\n"
        b"content-length: " + str(len(data)).encode() + b"\r\n\r\n" + data
    )
    await writer.drain()
    return writer


async def until(condition: Callable[[], object], patience_s: float = 20.0) -> None:
    async with asyncio.timeout(patience_s):
        while not condition():
            await asyncio.sleep(0.005)


async def ended_row(gateway: GatewayServer) -> models.GatewayCall:
    """The row of the only call, once it has ended."""
    async with asyncio.timeout(20):
        while True:
            async with gateway.database.read() as session:
                found = list(await session.scalars(select(models.GatewayCall)))
            if found and found[0].outcome:
                return found[0]
            await asyncio.sleep(0.02)


@pytest.fixture
async def provider() -> AsyncIterator[Upstream]:
    async with upstream() as serving:
        yield serving


@pytest.fixture
async def gateway(tmp_path: Path, provider: Upstream) -> AsyncIterator[GatewayServer]:
    overrides = {"providers": {"p": {"base_url": provider.base_url, "concurrency": 1}}}
    async with gateway_server(tmp_path, overrides=overrides) as server:
        yield server


@pytest.mark.parametrize(
    ("act", "stream", "produced"),
    [
        (Act(then="hang", head=False), True, 0),
        (Act(then="hang"), True, 0),
        (Act(then="hang", head=False), False, 0),
        (Act(events=[delta("four more words here")], then="hang"), True, 5),
        (Act(events=[delta("four more words here")], then="hang"), False, 5),
    ],
    ids=["before the head", "before a token", "whole, before the head", "in the stream", "whole"],
)
async def test_the_provider_sees_it_and_what_was_produced_is_paid(
    gateway: GatewayServer, provider: Upstream, act: Act, stream: bool, produced: int
) -> None:
    provider.acts = [act]
    writer = await visit(gateway, model="p/m", stream=stream)
    await until(lambda: provider.requests)
    await asyncio.sleep(0.2)  # what the provider has sent is read
    left_at = time.monotonic()
    writer.close()
    await until(lambda: provider.left_at)
    assert provider.left_at[0] - left_at < SOON_S
    row = await ended_row(gateway)
    assert (row.outcome, row.status, row.error_code) == ("cancelled", 499, "client_gone")
    assert row.output_tokens == produced
    async with gateway.database.read() as session:
        key = await session.get_one(models.GatewayKeyRow, gateway.key_id)
    assert (key.in_flight, key.held_tokens) == (0, 0)
    # The one place of the provider is free again.
    provider.acts = [Act(events=[delta("Hi"), "[DONE]"])]
    body = {"model": "p/m", "messages": [{"role": "user", "content": "Hello"}]}
    assert (await gateway.post("/v1/chat/completions", body)).status_code == 200


async def test_who_leaves_while_waiting_for_a_place_or_a_pause_asks_nobody(
    gateway: GatewayServer, provider: Upstream
) -> None:
    provider.acts = [Act(then="hang")]
    first = await visit(gateway, model="p/m", stream=True)
    await until(lambda: provider.requests)
    second = await visit(gateway, model="p/m", stream=True)
    await asyncio.sleep(0.3)
    second.close()
    await asyncio.sleep(0.3)
    first.close()
    await until(lambda: provider.left_at)
    await asyncio.sleep(0.3)
    assert len(provider.requests) == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_the_scripted_engine_stops_as_well(gateway: GatewayServer, stream: bool) -> None:
    gateway.engine.when("Hello", Hang())
    writer = await visit(gateway, model="default", stream=stream)
    await until(lambda: gateway.engine.running)
    writer.close()
    await until(lambda: not gateway.engine.running, SOON_S)
    await until(lambda: gateway.engine.aborted == 1)


async def test_the_bundled_core_frees_its_sequence(tmp_path: Path) -> None:
    config = EngineConfig(context_length=2048, max_sequences=4, max_running=2)
    engine = await asyncio.to_thread(load_engine, config, tmp_path / "engine")
    app = build_app(ServiceHolder(EngineChatService(engine)), EngineConfig())
    try:
        async with listening(app) as url:
            overrides = {"engine": {"url": url}}
            async with gateway_server(tmp_path, overrides=overrides) as gateway:
                writer = await visit(gateway, model="default", stream=True, ignore_eos=True)
                await until(lambda: engine.stats().running)
                writer.close()
                await until(lambda: not engine.stats().running, SOON_S)
                assert (await ended_row(gateway)).outcome == "cancelled"
    finally:
        await asyncio.to_thread(engine.close)
