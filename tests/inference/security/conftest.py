"""The routes over the real engine."""

from collections.abc import AsyncIterator

import pytest

from roost_inference.engine import Engine
from roost_inference.http.listener import listening
from roost_inference.server import build_server


@pytest.fixture
async def real_url(real_engine: Engine) -> AsyncIterator[str]:
    async with listening(build_server(real_engine)) as base_url:
        yield base_url
