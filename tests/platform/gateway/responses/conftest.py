"""A gateway on loopback, with OpenAI's own client."""

from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest

from roost_platform.testing.gateway import GatewayServer, gateway_server


@pytest.fixture
async def gateway(tmp_path: Path, sqlite_url: str) -> AsyncIterator[GatewayServer]:
    async with gateway_server(tmp_path, database_url=sqlite_url) as server:
        yield server


@pytest.fixture
async def client(gateway: GatewayServer) -> AsyncIterator[openai.AsyncOpenAI]:
    opened = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.secret, max_retries=0)
    async with opened as client:
        yield client
