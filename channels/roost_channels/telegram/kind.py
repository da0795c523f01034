"""Telegram as the rest of Roost sees it."""

import time
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
from roost_channels.telegram.config import TelegramConfig
from roost_channels.webhook import (
    NOT_CONFIGURED,
    WebhookHandlers,
    WebhookReply,
    WebhookRequest,
    WebhookRoute,
)

if TYPE_CHECKING:
    import httpx2

    from roost_channels.channel import Channel
    from roost_channels.sandbox.phone import SandboxPhone
    from roost_channels.testing import FakeTelegram

UPDATES = "/hooks/telegram/{account}"
SANDBOX_BOT = "42"
PERSON, PERSON_NAME = "1001", "Ada"


def _open(config: TelegramConfig, ports: ChannelPorts) -> "Channel":
    from roost_channels.telegram.channel import TelegramChannel

    return TelegramChannel(
        config,
        public_base_url=ports.public_base_url,
        clock=ports.clock,
        files=ports.files,
        commands=ports.commands,
        auth_probe_s=ports.auth_probe_s,
    )


def _webhooks(config: TelegramConfig, ports: WebhookPorts) -> WebhookHandlers | None:
    if config.mode != "webhook":
        return None
    from roost_channels.telegram.inbound.webhook import TelegramWebhook

    webhook = TelegramWebhook(config, ports.intake)

    async def updates(request: WebhookRequest) -> WebhookReply:
        if request.path_values["account"] != config.account:
            return NOT_CONFIGURED
        return await webhook.handle(request.headers, request.body)

    return WebhookHandlers({UPDATES: updates}, webhook.close)


def _setup(config: TelegramConfig, base: str) -> Setup:
    webhooks = []
    if config.mode == "webhook" and base and config.account:
        address = UPDATES.format(account=config.account)
        webhooks.append(("updates", f"{base.rstrip('/')}{address}"))
    return Setup(
        receives_by=config.mode,
        webhooks=tuple(webhooks),
        steps=(
            "Talk to [@BotFather](https://t.me/BotFather), send `/newbot` and copy the token.",
            "Set `ROOST_TELEGRAM__TOKEN` to it and start Roost again.",
            "Write to your bot; approve the pairing code it answers with on the People page.",
        ),
    )


async def _probe(config: TelegramConfig, ports: ProbePorts) -> Finding:
    token = config.token.get_secret_value() if config.token else ""
    base = config.api_base.rstrip("/")
    began = time.monotonic()
    status, body = await ports.get_json(f"{base}/bot{token}/getMe")
    took_ms = (time.monotonic() - began) * 1000
    if status == 200 and body.get("ok"):
        return Finding("ok", f"@{body['result'].get('username')}, {took_ms:.0f} ms")
    if status in (401, 404):
        return Finding("broken", "Telegram refuses the token")
    return Finding("warning", f"{base} answers {status or 'nothing'}")


def _sandbox_settings(place: SandboxPlace) -> dict[str, str]:
    return {
        "token": f"{SANDBOX_BOT}:{place.secret('telegram')}",
        "api_base": place.url,
        "mode": "polling",
    }


def _fake(config: TelegramConfig, port: int, web_url: str) -> "FakeTelegram":
    from roost_channels.testing.sandbox import lasting_telegram

    return lasting_telegram(config.token.get_secret_value() if config.token else "", port)


def _phone(config: TelegramConfig, client: "httpx2.AsyncClient") -> "SandboxPhone":
    from roost_channels.telegram.phone import TelegramPhone

    return TelegramPhone(client, config.api_base, PERSON, PERSON_NAME)


KIND = ChannelKind(
    name="telegram",
    channel="telegram",
    label="Telegram",
    icon="send",
    tone="sky",
    section="telegram",
    title="Telegram",
    help="See [telegram.md](telegram.md).",
    config=TelegramConfig,
    open=_open,
    routes=(WebhookRoute(UPDATES),),
    webhooks=_webhooks,
    setup=_setup,
    probe=_probe,
    sandbox=SandboxNetwork(
        settings=_sandbox_settings,
        url=lambda config: config.api_base,
        fake=_fake,
        phone=_phone,
        defaults=(("access", "open"),),
    ),
)
