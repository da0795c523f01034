"""WhatsApp through Meta's Cloud API as the rest of Roost sees it."""

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
    NOT_CONFIGURED,
    WebhookHandlers,
    WebhookReply,
    WebhookRequest,
    WebhookRoute,
)
from roost_channels.whatsapp_cloud.config import WhatsAppCloudConfig

if TYPE_CHECKING:
    import httpx2

    from roost_channels.channel import Channel
    from roost_channels.sandbox.phone import SandboxPhone
    from roost_channels.testing import FakeCloud

EVENTS = "/hooks/whatsapp-cloud/{phone_number_id}"
SANDBOX_NUMBER_ID = "106540352242922"
PERSON, PERSON_NAME = "whatsapp:+15550007777", "Hedy"


def _open(config: WhatsAppCloudConfig, ports: ChannelPorts) -> "Channel":
    from roost_channels.whatsapp_cloud.channel import WhatsAppCloudChannel

    return WhatsAppCloudChannel(
        config, clock=ports.clock, files=ports.files, receipts=ports.receipts
    )


def _webhooks(config: WhatsAppCloudConfig, ports: WebhookPorts) -> WebhookHandlers:
    from roost_channels.whatsapp_cloud.inbound import CloudWebhooks

    hooks = CloudWebhooks(config, ports.intake)

    async def events(request: WebhookRequest) -> WebhookReply:
        if request.path_values["phone_number_id"] != config.account:
            return NOT_CONFIGURED
        if request.method == "GET":  # Meta's question whether the address is ours
            return hooks.verify(request.query)
        return await hooks.receive(request.headers, request.body)

    return WebhookHandlers({EVENTS: events})


def _address(config: WhatsAppCloudConfig, base: str) -> str:
    return base.rstrip("/") + EVENTS.format(phone_number_id=config.account)


def _setup(config: WhatsAppCloudConfig, base: str) -> Setup:
    return Setup(
        receives_by="webhook",
        webhooks=(("messages and statuses", _address(config, base)),) if base else (),
        steps=(
            "Set `ROOST_PUBLIC_BASE_URL` to the https address under which Meta reaches us.",
            "Enter the webhook's address and the verify token in the app's WhatsApp settings.",
            "Subscribe the webhook to the field `messages`.",
        ),
    )


async def _probe(config: WhatsAppCloudConfig, ports: ProbePorts) -> Finding:
    if not ports.public_base_url:
        return Finding("broken", "Meta delivers to webhooks only: set ROOST_PUBLIC_BASE_URL")
    url = f"{config.api_base.rstrip('/')}/{config.api_version}/{config.account}"
    token = config.access_token.get_secret_value() if config.access_token else ""
    status, body = await ports.get_json(url, token=token)
    if status == 200:
        number = body.get("display_phone_number", config.account)
        webhook = _address(config, ports.public_base_url)
        return Finding("ok", f"number {number}, webhook at {webhook}")
    if status in (400, 401, 403):
        return Finding("broken", "Meta refuses the access token or the phone number's id")
    return Finding("warning", f"{config.api_base} answers {status or 'nothing'}")


def _sandbox_settings(place: SandboxPlace) -> dict[str, str]:
    return {
        "phone_number_id": SANDBOX_NUMBER_ID,
        "access_token": place.secret("cloud access"),
        "app_secret": place.secret("cloud app"),
        "verify_token": place.secret("cloud verify"),
        "api_base": place.url,
    }


def _fake(config: WhatsAppCloudConfig, port: int, web_url: str) -> "FakeCloud":
    from roost_channels.testing import FakeCloud

    return FakeCloud(
        config.account,
        config.access_token.get_secret_value() if config.access_token else "",
        config.app_secret.get_secret_value() if config.app_secret else "",
        webhook_url=_address(config, web_url),
        port=port,
    )


def _phone(config: WhatsAppCloudConfig, client: "httpx2.AsyncClient") -> "SandboxPhone":
    from roost_channels.whatsapp.phone import WhatsAppPhone, look

    url = f"{config.api_base}/sim/users/{PERSON}"
    shown = look("cloud", "WhatsApp by Meta", "through Meta")
    return WhatsAppPhone(client, url, PERSON_NAME, shown)


KIND = ChannelKind(
    name="whatsapp cloud",
    channel="whatsapp",
    label="WhatsApp",
    icon="phone",
    tone="leaf",
    section="whatsapp_cloud",
    title="WhatsApp through Meta's Cloud API",
    help="See [whatsapp.md](whatsapp.md).",
    config=WhatsAppCloudConfig,
    open=_open,
    routes=(WebhookRoute(EVENTS, ("GET", "POST")),),
    webhooks=_webhooks,
    setup=_setup,
    has_buttons=False,  # a message with them may be refused
    is_offered=False,  # most need one way to WhatsApp, and Twilio's is listed
    probe=_probe,
    sandbox=SandboxNetwork(
        settings=_sandbox_settings,
        url=lambda config: config.api_base,
        fake=_fake,
        phone=_phone,
        defaults=(("access", "open"),),
    ),
)
