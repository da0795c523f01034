"""A Bot API server on loopback with one chat, and the channel that talks to it."""

from collections.abc import AsyncIterator

import pytest

from roost_channels.telegram.channel import TelegramChannel
from roost_channels.telegram.config import TelegramConfig
from roost_channels.testing import FakeTelegram


@pytest.fixture
async def telegram() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram() as server:
        await server.user_says(7, "hello")
        yield server


@pytest.fixture
async def channel(telegram: FakeTelegram) -> AsyncIterator[TelegramChannel]:
    config = TelegramConfig.model_validate({"token": telegram.token, "api_base": telegram.base_url})
    opened = TelegramChannel(config)
    yield opened
    await opened.close()
