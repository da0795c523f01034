"""Relay as the rest of Roost sees it."""

from typing import TYPE_CHECKING

from relay.config import RelayConfig
from roost_channels.kinds import (
    ChannelKind,
    ChannelPorts,
    Finding,
    ProbePorts,
    Setup,
    WebhookPorts,
)
from roost_channels.sandbox.network import SandboxNetwork, SandboxPlace
from roost_channels.webhook import WebhookHandlers, WebhookRoute

if TYPE_CHECKING:
    import httpx2

    from relay.fake import FakeRelay
    from roost_channels.channel import Channel
    from roost_channels.sandbox.phone import SandboxPhone

EVENTS = "/hooks/relay/{account}"
PERSON = "ada"


def _open(config: RelayConfig, ports: ChannelPorts) -> "Channel":
    from relay.channel import RelayChannel

    return RelayChannel(config, ports.clock)


def _webhooks(config: RelayConfig, ports: WebhookPorts) -> WebhookHandlers:
    from relay.inbound import RelayWebhook

    return WebhookHandlers({EVENTS: RelayWebhook(config, ports.intake).handle})


def _setup(config: RelayConfig, base: str) -> Setup:
    address = base.rstrip("/") + EVENTS.format(account=config.account)
    return Setup(
        receives_by="webhook",
        webhooks=(("events", address),) if base and config.configured else (),
        steps=(
            "Make an account and an API key on your Relay server.",
            "Set `ROOST_RELAY__API_BASE`, `__NAME`, `__API_KEY` and `__WEBHOOK_SECRET`.",
            "Enter the webhook's address and its secret on the server.",
        ),
    )


async def _probe(config: RelayConfig, ports: ProbePorts) -> Finding:
    if not ports.public_base_url:
        return Finding("broken", "Relay delivers to webhooks only: set ROOST_PUBLIC_BASE_URL")
    key = config.api_key.get_secret_value() if config.api_key else ""
    status, _ = await ports.get_json(f"{config.api_base}/v1/messages", token=key)
    if status == 200:
        return Finding("ok", f"{config.account} at {config.api_base}")
    return Finding("broken", f"{config.api_base} answers {status or 'nothing'}")


def _sandbox_settings(place: SandboxPlace) -> dict[str, str]:
    return {
        "api_base": place.url,
        "name": "roost",
        "api_key": place.secret("relay key"),
        "webhook_secret": place.secret("relay webhook"),
    }


def _fake(config: RelayConfig, port: int, web_url: str) -> "FakeRelay":
    from relay.fake import FakeRelay

    return FakeRelay(
        config.account,
        config.api_key.get_secret_value() if config.api_key else "",
        config.webhook_secret.get_secret_value() if config.webhook_secret else "",
        webhook_url=web_url + EVENTS.format(account=config.account),
        port=port,
    )


def _phone(config: RelayConfig, client: "httpx2.AsyncClient") -> "SandboxPhone":
    from relay.phone import RelayPhone

    return RelayPhone(client, config.api_base or "", PERSON)


KIND = ChannelKind(
    name="relay",
    channel="relay",
    label="Relay",
    icon="radio-tower",
    section="relay",
    title="Relay",
    config=RelayConfig,
    open=_open,
    routes=(WebhookRoute(EVENTS),),
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
