"""The fake of Telegram and the adapter that speaks to it."""

from collections.abc import AsyncIterator

import pytest

from roost_channels.telegram.channel import TelegramChannel
from roost_channels.telegram.testing import CHAT, settings
from roost_channels.testing import FakeTelegram


@pytest.fixture
async def telegram() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram(stretch_empty_polls=False) as server:
        yield server
        assert server.complaints == []


@pytest.fixture
async def channel(telegram: FakeTelegram) -> AsyncIterator[TelegramChannel]:
    await telegram.user_says(CHAT, "hello")
    found = TelegramChannel(settings(telegram))
    yield found
    await found.close()
