"""The fake of Twilio and the adapter that speaks to it."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from roost_channels.testing import FakeTwilio
from roost_channels.whatsapp.channel import WhatsAppChannel
from roost_channels.whatsapp.inbound.webhook import TwilioWebhooks
from roost_channels.whatsapp.testing import USER, Site, settings


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    found = Site()
    app = web.Application()
    app.router.add_post("/hooks/twilio/{which}", found.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    if found.hooks is not None:
        await found.hooks.close()
    await runner.cleanup()


@pytest.fixture
async def twilio(site: Site) -> AsyncIterator[FakeTwilio]:
    async with FakeTwilio(webhook_url=f"{site.base_url}/hooks/twilio/inbound") as server:
        site.hooks = TwilioWebhooks(settings(server), site.base_url, site.intake)
        yield server
        assert server.complaints == []


@pytest.fixture
async def channel(twilio: FakeTwilio, site: Site) -> AsyncIterator[WhatsAppChannel]:
    await twilio.user_says(USER, "hello")
    found = WhatsAppChannel(settings(twilio), public_base_url=site.base_url)
    yield found
    await found.close()
