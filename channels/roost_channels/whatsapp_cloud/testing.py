"""For tests: a web port as Meta reaches it, and the settings of an account at the fake."""

from typing import Any

from aiohttp import web

from roost_channels.config import DeliveryConfig
from roost_channels.message import Address, InboundMessage
from roost_channels.testing import StatusPlan, VirtualClock
from roost_channels.testing.memory.intake import MemoryIntake
from roost_channels.whatsapp_cloud.config import WhatsAppCloudConfig
from roost_channels.whatsapp_cloud.inbound import CloudWebhooks

NUMBER = "106540352242922"
USER = "whatsapp:+16505551234"
ADDRESS = Address("whatsapp", NUMBER, USER)
QUICK = DeliveryConfig(retry_s=0.01, retry_max_s=0.02, poll_s=0.02, reconcile_s=0.2)
INSTANT = StatusPlan(0.0, 0.0, 0.0)


def settings(**fields: Any) -> WhatsAppCloudConfig:
    """The settings of an account at the fake."""
    known = {
        "access_token": "test-access-token",
        "phone_number_id": NUMBER,
        "app_secret": "test-app-secret",
        "verify_token": "open sesame",
    }
    return WhatsAppCloudConfig.model_validate(known | fields)


class Site:
    """The web port as Meta reaches it."""

    def __init__(self) -> None:
        self.intake = MemoryIntake()
        self.hooks = CloudWebhooks(settings(window_template="ready"), self.intake)
        self.statuses: list[int] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        """Hand a webhook call to the adapter, and keep what it answered."""
        reply = await self.hooks.receive(request.headers, await request.read())
        self.statuses.append(reply.status)
        return web.Response(status=reply.status, body=reply.body)


class VirtualClockThatRuns(VirtualClock):
    """Sleeps take no real time."""

    async def sleep(self, seconds: float) -> None:
        """Let the seconds pass at once."""
        self._now += seconds


def newest(intake: MemoryIntake) -> InboundMessage:
    """The message that arrived last."""
    return list(intake.messages.values())[-1]
