"""A phone on a Bot API server on loopback, with a clock that the test turns."""

from collections.abc import AsyncIterator

import pytest

from roost_channels.telegram.testing import CHAT, Phone
from roost_channels.testing import FakeTelegram, VirtualClock


@pytest.fixture
async def phone() -> AsyncIterator[Phone]:
    clock = VirtualClock()
    async with FakeTelegram(clock=clock) as telegram:
        await telegram.user_says(CHAT, "hello")
        opened = Phone(telegram, clock)
        yield opened
        await opened.channel.close()
