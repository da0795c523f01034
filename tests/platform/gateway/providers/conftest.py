"""A provider that a test tells what to write, and a client of it."""

from collections.abc import AsyncIterator

import pytest
from tests.platform.gateway.providers.provider import PATIENCE_S, SHORT_S, Provider, until

from roost_inference.testing.raw_server import raw_server
from roost_platform.gateway.providers.http.plain import PlainClient


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    serving = Provider()
    async with raw_server(serving.serve, limit=2**21) as serving.url:
        yield serving
        await until(lambda: serving.ended == serving.opened)


@pytest.fixture
async def client(provider: Provider) -> AsyncIterator[PlainClient]:
    headers = {"accept-encoding": "identity", "authorization": "Bearer key"}
    opened = PlainClient(
        provider.url, headers, connect_s=SHORT_S, silence_s=PATIENCE_S, sending_s=PATIENCE_S
    )
    yield opened
    await opened.close()
