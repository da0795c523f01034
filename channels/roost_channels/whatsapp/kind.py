"""WhatsApp through Twilio as the rest of Roost sees it."""

from typing import TYPE_CHECKING

from roost_channels.kinds import (
    ChannelKind,
    ChannelPorts,
    Finding,
    ProbePorts,
    Setup,
    WebhookPorts,
)
from roost_channels.sandbox.network import SandboxNetwork, SandboxPlace
from roost_channels.webhook import (
    WebhookHandlers,
    WebhookReply,
    WebhookRequest,
    WebhookRoute,
)
from roost_channels.whatsapp.config import TwilioConfig

if TYPE_CHECKING:
    import httpx2

    from roost_channels.channel import Channel
    from roost_channels.sandbox.phone import SandboxPhone
    from roost_channels.testing import FakeTwilio

INBOUND = "/hooks/twilio/inbound"
STATUS = "/hooks/twilio/status"
MEDIA = "/hooks/twilio/media/{artifact_id}/{name}"
SANDBOX_SENDER = "whatsapp:+15550001000"
PERSON, PERSON_NAME = "whatsapp:+15550009999", "Grace"


def _open(config: TwilioConfig, ports: ChannelPorts) -> "Channel":
    from roost_channels.whatsapp.channel import WhatsAppChannel

    return WhatsAppChannel(
        config,
        public_base_url=ports.public_base_url,
        clock=ports.clock,
        receipts=ports.receipts,
    )


def _webhooks(config: TwilioConfig, ports: WebhookPorts) -> WebhookHandlers:
    from roost_channels.whatsapp.inbound.webhook import TwilioWebhooks
    from roost_channels.whatsapp.links import MediaHandler

    hooks = TwilioWebhooks(config, ports.public_base_url, ports.intake)
    media = MediaHandler(config, ports.public_base_url, ports.files)

    async def inbound(request: WebhookRequest) -> WebhookReply:
        return await hooks.inbound(request.url_path, request.headers, request.body)

    async def status(request: WebhookRequest) -> WebhookReply:
        return await hooks.status(request.url_path, request.headers, request.body)

    return WebhookHandlers({INBOUND: inbound, STATUS: status, MEDIA: media.handle}, hooks.close)


def _setup(config: TwilioConfig, base: str) -> Setup:
    base = base.rstrip("/")
    webhooks = (("inbound messages", f"{base}{INBOUND}"), ("status callbacks", f"{base}{STATUS}"))
    return Setup(
        receives_by="webhook" if config.configured else "",
        webhooks=webhooks if base else (),
        steps=(
            "Set `ROOST_PUBLIC_BASE_URL` to the https address under which Twilio reaches us.",
            "Set `ROOST_TWILIO__ACCOUNT_SID`, `ROOST_TWILIO__AUTH_TOKEN` and `ROOST_TWILIO__FROM`.",
            "Enter the inbound address as the sender's webhook in Twilio's console.",
        ),
    )


async def _probe(config: TwilioConfig, ports: ProbePorts) -> Finding:
    if not ports.public_base_url:
        return Finding("broken", "Twilio delivers to webhooks only: set ROOST_PUBLIC_BASE_URL")
    return Finding("ok", f"sender {config.account}")


def _sandbox_settings(place: SandboxPlace) -> dict[str, str]:
    return {
        "account_sid": "AC" + "5" * 32,
        "auth_token": place.secret("twilio"),
        "from": SANDBOX_SENDER,
        "api_base": place.url,
    }


def _fake(config: TwilioConfig, port: int, web_url: str) -> "FakeTwilio":
    from roost_channels.testing import FakeTwilio

    return FakeTwilio(
        config.account_sid or "",
        config.auth_token.get_secret_value() if config.auth_token else "",
        config.account,
        webhook_url=f"{web_url}{INBOUND}",
        port=port,
    )


def _phone(config: TwilioConfig, client: "httpx2.AsyncClient") -> "SandboxPhone":
    from roost_channels.whatsapp.phone import WhatsAppPhone, look

    url = f"{config.api_base}/sim/users/{PERSON}"
    return WhatsAppPhone(client, url, PERSON_NAME, look("whatsapp", "WhatsApp", "through Twilio"))


KIND = ChannelKind(
    name="whatsapp",
    channel="whatsapp",
    label="WhatsApp",
    icon="phone",
    tone="leaf",
    section="twilio",
    title="WhatsApp through Twilio",
    help="See [whatsapp.md](whatsapp.md).",
    config=TwilioConfig,
    open=_open,
    has_buttons=False,  # a template for them may be refused
    routes=(WebhookRoute(INBOUND), WebhookRoute(STATUS), WebhookRoute(MEDIA, ("GET",))),
    webhooks=_webhooks,
    setup=_setup,
    probe=_probe,
    sandbox=SandboxNetwork(
        settings=_sandbox_settings,
        url=lambda config: config.api_base or "",
        fake=_fake,
        phone=_phone,
        defaults=(("access", "open"),),
    ),
)
