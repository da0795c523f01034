"""The fake of Meta's Cloud API and the adapter that speaks to it."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from roost_channels.testing import FakeCloud
from roost_channels.whatsapp_cloud.channel import WhatsAppCloudChannel
from roost_channels.whatsapp_cloud.testing import INSTANT, Site, VirtualClockThatRuns, settings


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    found = Site()
    app = web.Application()
    app.router.add_post("/hook", found.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield found
    await runner.cleanup()


@pytest.fixture
async def cloud(site: Site) -> AsyncIterator[FakeCloud]:
    ready = {"ready": "Your result is ready, reply to view."}
    async with FakeCloud(webhook_url=site.url, status_plan=INSTANT, templates=ready) as server:
        yield server


@pytest.fixture
async def channel(cloud: FakeCloud) -> AsyncIterator[WhatsAppCloudChannel]:
    config = settings(api_base=cloud.base_url, window_template="ready")
    found = WhatsAppCloudChannel(config, clock=VirtualClockThatRuns())
    yield found
    await found.close()
