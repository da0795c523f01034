"""The HTTP routes over a puppet engine and over the real one, and clients for both."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from roost_inference.client.engine_client import EngineClient
from roost_inference.config import EngineConfig
from roost_inference.engine import Engine
from roost_inference.http.listener import listening
from roost_inference.server import build_server
from roost_inference.testing.puppet import PuppetEngine

BODY_BYTES_MAX = 100_000


@pytest.fixture
def puppet() -> PuppetEngine:
    return PuppetEngine()


@pytest.fixture
async def url(puppet: PuppetEngine) -> AsyncIterator[str]:
    config = EngineConfig(max_body_bytes=BODY_BYTES_MAX)
    async with listening(build_server(puppet, config)) as base_url:
        yield base_url


@pytest.fixture
async def http(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=url, timeout=10, trust_env=False) as client:
        yield client


@pytest.fixture
async def client(url: str) -> AsyncIterator[EngineClient]:
    client = EngineClient(url)
    yield client
    await client.close()


@pytest.fixture
async def real_url(real_engine: Engine) -> AsyncIterator[str]:
    async with listening(build_server(real_engine)) as base_url:
        yield base_url
