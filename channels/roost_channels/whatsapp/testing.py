"""For tests: a web port as Twilio reaches it, and the settings of an account at the fake."""

from typing import Any

from aiohttp import web

from roost_channels.config import DeliveryConfig
from roost_channels.message import Address, InboundMessage
from roost_channels.testing import FakeTwilio
from roost_channels.testing.memory.intake import MemoryIntake
from roost_channels.webhook import WebhookReply
from roost_channels.whatsapp.config import TwilioConfig
from roost_channels.whatsapp.inbound.webhook import TwilioWebhooks

USER = "whatsapp:+15551112222"
SENDER = "whatsapp:+15550001000"
ADDRESS = Address("whatsapp", SENDER, USER)
BASE = "https://roost.example"
QUICK = DeliveryConfig(retry_s=0.01, retry_max_s=0.02, poll_s=0.02, reconcile_s=0.2)


def settings(twilio: FakeTwilio, **fields: Any) -> TwilioConfig:
    """The settings of an account at the fake."""
    return TwilioConfig.model_validate(
        {
            "account_sid": twilio.account_sid,
            "auth_token": twilio.auth_token,
            "from": twilio.sender,
            "api_base": twilio.base_url,
            **fields,
        }
    )


class Site:
    """The web port as Twilio reaches it: our webhooks behind a real HTTP server."""

    def __init__(self) -> None:
        self.intake = MemoryIntake()
        self.hooks: TwilioWebhooks | None = None
        self.base_url = ""
        self.replies: list[WebhookReply] = []

    async def handle(self, request: web.Request) -> web.Response:
        """Hand a webhook call to the adapter, and keep what it answered."""
        assert self.hooks is not None
        answer = self.hooks.inbound if request.path.endswith("inbound") else self.hooks.status
        reply = await answer(request.path_qs, request.headers, await request.read())
        self.replies.append(reply)
        return web.Response(status=reply.status, body=reply.body)


def newest(intake: MemoryIntake) -> InboundMessage:
    """The message that arrived last."""
    return list(intake.messages.values())[-1]
